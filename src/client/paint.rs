//! What is written to a terminal: colours where a person reads, none elsewhere.

use std::fmt::Display;
use std::io::{self, IsTerminal};

/// A colour or weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Of less weight.
    Dim,
    /// Of more weight.
    Bold,
    /// A name.
    Name,
    /// Something to look at.
    Warning,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub struct Painter(bool);

impl Painter {
    /// Colours, if standard output is a terminal and https://no-color.org is not asked for.
    pub fn for_stdout() -> Painter {
        Painter(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// No colours.
    #[cfg(test)]
    pub fn plain() -> Painter {
        Painter(false)
    }

    /// This, painted.
    pub fn paint(self, paint: Paint, text: impl Display) -> String {
        let code = match paint {
            Paint::Dim => 2,
            Paint::Bold => 1,
            Paint::Name => 36,
            Paint::Warning => 33,
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// The text with what a terminal would act on shown instead: an event must not move the cursor.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_shown_instead() {
        assert_eq!(harmless("a\x1b[2Jb\tc\nd\u{9b}"), "a\u{fffd}[2Jb\tc\nd\u{fffd}");
    }
}
