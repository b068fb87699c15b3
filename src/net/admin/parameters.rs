//! What the admin endpoints are asked for.

use crate::net::problem::Problem;
use crate::net::query::{self, quoted};

/// How many items are answered,
const LIMIT: usize = 20;
/// and how many at most.
const LIMIT_MAX: usize = 100;

/// Reads `sort`, one of these, the first by default, and `limit`.
pub(super) fn sort_and_limit<S: Copy>(
    text: &str,
    sorts: &[(&'static str, S)],
) -> Result<((&'static str, S), usize), Problem> {
    let (mut sort, mut limit) = (None, None);
    for (name, value) in query::pairs(text) {
        let field = match query::decode(name, true).as_deref() {
            Ok("sort") => "sort",
            Ok("limit") => "limit",
            _ => return Err(Problem::in_field(quoted(name), "isn't known: sort and limit are")),
        };
        let refuse = |reason| Problem::in_field(field, reason);
        let value = query::decode(value, true).map_err(refuse)?;
        let given_before = if field == "sort" {
            let known = sorts.iter().find(|(name, _)| *name == value).copied();
            let names: Vec<_> = sorts.iter().map(|(name, _)| *name).collect();
            sort.replace(known.ok_or_else(|| Problem::in_field(field, format!("is one of {}", names.join(", "))))?)
                .is_some()
        } else {
            let number = query::number(&value).filter(|number| (1..=LIMIT_MAX).contains(number));
            limit
                .replace(number.ok_or_else(|| Problem::in_field(field, format!("is a number from 1 to {LIMIT_MAX}")))?)
                .is_some()
        };
        if given_before {
            return Err(refuse("is given twice"));
        }
    }
    Ok((sort.unwrap_or(sorts[0]), limit.unwrap_or(LIMIT)))
}
