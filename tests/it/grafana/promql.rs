//! As much of PromQL as it takes to see what an expression selects, and to have it answer.

use std::collections::BTreeSet;

/// A metric, and what its labels must match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    pub(super) matchers: Vec<Matcher>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) operator: String,
    pub(super) value: String,
}

impl Selector {
    /// The family that a scrape names: a histogram's, not that of its parts.
    pub(super) fn family(&self) -> &str {
        let parts = ["_bucket", "_sum", "_count"];
        parts.iter().find_map(|part| self.metric.strip_suffix(part)).unwrap_or(&self.metric)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name, a keyword or a number.
    Word(&'a str),
    /// A text, less its quotes.
    Text(&'a str),
    /// What stands between `[` and `]`.
    Range(&'a str),
    /// An operator or a bracket.
    Mark(&'a str),
}

const MARKS: [&str; 20] =
    ["==", "!=", "=~", "!~", "<=", ">=", "<", ">", "=", "(", ")", "{", "}", ",", "+", "-", "*", "/", "%", "^"];

/// The tokens, each with where it ends.
fn tokens(expression: &str) -> Vec<(Token<'_>, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '$');
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = expression[at..].chars().next() {
        let rest = &expression[at..];
        let until = |from: usize, end: char| from + rest[from..].find(end).expect("what is opened is closed");
        let (token, length) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '"' => (Token::Text(&rest[1..until(1, '"')]), until(1, '"') + 1),
            '[' => (Token::Range(&rest[1..until(1, ']')]), until(1, ']') + 1),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
            _ => {
                let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
                let mark = mark.unwrap_or_else(|| panic!("not understood: {rest}"));
                (Token::Mark(mark), mark.len())
            }
        };
        at += length;
        tokens.push((token, at));
    }
    tokens
}

/// All that an expression selects.
pub(super) fn selectors(expression: &str) -> Vec<Selector> {
    let tokens: Vec<_> = tokens(expression).into_iter().map(|(token, _)| token).collect();
    let mut found = Vec::new();
    let mut rest = &tokens[..];
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let Token::Word(word) = token else { continue };
        let closing = |mark| 1 + rest.iter().position(|token| *token == Token::Mark(mark)).expect("it is closed");
        match *word {
            "by" | "without" | "on" | "ignoring" => rest = &rest[closing(")")..],
            "and" | "or" | "unless" | "bool" | "offset" | "sum" | "min" | "max" | "avg" | "count" => {}
            number if number.starts_with(|c: char| c.is_ascii_digit()) => {}
            _ if rest.first() == Some(&Token::Mark("(")) => {}
            metric => {
                let mut matchers = Vec::new();
                if rest.first() == Some(&Token::Mark("{")) {
                    let end = closing("}");
                    matchers = rest[1..end - 1].split(|token| *token == Token::Mark(",")).map(matcher).collect();
                    rest = &rest[end..];
                }
                found.push(Selector { metric: metric.to_owned(), matchers });
            }
        }
    }
    found
}

fn matcher(tokens: &[Token<'_>]) -> Matcher {
    let [Token::Word(label), Token::Mark(operator), Token::Text(value)] = tokens else {
        panic!("no matcher: {tokens:?}")
    };
    Matcher { label: (*label).to_owned(), operator: (*operator).to_owned(), value: (*value).to_owned() }
}

/// The ranges, such as `5m`.
pub(super) fn ranges(expression: &str) -> BTreeSet<&str> {
    let range = |(token, _)| match token {
        Token::Range(range) => Some(range),
        _ => None,
    };
    tokens(expression).into_iter().filter_map(range).collect()
}

/// The expression with `bool` after each comparison: where it held it answers 1, where it did not it
/// answers 0 instead of nothing. So nothing means that something in it selects nothing. `None` if one
/// side of an operator would hide that the other is empty.
pub(super) fn answering(expression: &str) -> Option<String> {
    let mut answering = String::new();
    let (mut from, mut braces) = (0, 0);
    for (token, end) in tokens(expression) {
        answering.push_str(&expression[from..end]);
        from = end;
        match token {
            Token::Mark("{") => braces += 1,
            Token::Mark("}") => braces -= 1,
            Token::Mark("==" | "!=" | "<=" | ">=" | "<" | ">") if braces == 0 => answering.push_str(" bool"),
            Token::Word("or" | "unless" | "absent") => return None,
            _ => {}
        }
    }
    Some(answering + &expression[from..])
}

#[test]
fn what_is_selected() {
    #[track_caller]
    fn check(expression: &str, expected: &[&str]) {
        let shown = |selector: Selector| {
            let matchers = selector.matchers.iter().map(|m| format!("{}{}{}", m.label, m.operator, m.value));
            format!("{} {}", selector.metric, matchers.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
        };
        assert_eq!(selectors(expression).into_iter().map(shown).collect::<Vec<_>>(), expected, "{expression}");
    }
    check("up", &["up"]);
    check(
        "sum by (job, le) (rate(a_total{job=~\"$job\",le!=\"x{\"}[$__rate_interval]))",
        &["a_total job=~$job le!=x{"],
    );
    check("sum(a) by (x) / on (x) b:c:rate5m > 1.5e3", &["a", "b:c:rate5m"]);
    check("max_over_time(a[5m]) == 0 and on (job) b offset 5m", &["a", "b"]);
    check("histogram_quantile(0.5, a) * 300 < 2", &["a"]);
    assert_eq!(ranges("rate(a[5m]) + rate(b[1h])"), ["1h", "5m"].into());
}

#[test]
fn what_answers_whether_it_holds_or_not() {
    assert_eq!(answering("a{b!=\"<\"} > 1 and c == 0").unwrap(), "a{b!=\"<\"} > bool 1 and c == bool 0");
    assert_eq!(answering("rate(a[5m])\n<= b\n").unwrap(), "rate(a[5m])\n<= bool b\n");
    assert_eq!(answering("a or b"), None);
}
