//! LIKE.

use super::{Arguments, arg, plain_text, text::fold};
use crate::errors::SqlResult;
use rusqlite::types::Value;

pub(super) fn like(arguments: Arguments<'_>) -> SqlResult<Value> {
    let (text, pattern) = (arg(arguments, 0), arg(arguments, 1));
    if text == Value::Null || pattern == Value::Null {
        return Ok(Value::Null);
    }
    let escape = fold(&plain_text(&arg(arguments, 2))).first().copied();
    let matched = matches(&fold(&plain_text(&text)), &fold(&plain_text(&pattern)), escape);
    Ok(Value::Integer(i64::from(matched)))
}

/// LIKE by backtracking to the last `%` only, so that no pattern takes exponential time.
fn matches(text: &[char], pattern: &[char], escape: Option<char>) -> bool {
    let (mut at, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'%') && escape != Some('%') {
            p += 1;
            retry = Some((p, at));
            continue;
        }
        if p >= pattern.len() && at >= text.len() {
            return true;
        }
        if let Some(c) = text.get(at)
            && let Some(next) = single(*c, pattern, p, escape)
        {
            at += 1;
            p = next;
            continue;
        }
        // Spaces at the end of the text do not count.
        if p >= pattern.len() && text.get(at..).unwrap_or_default().iter().all(|c| *c == ' ') {
            return true;
        }
        match retry {
            Some((pattern_at, text_at)) if text_at < text.len() => {
                retry = Some((pattern_at, text_at + 1));
                p = pattern_at;
                at = text_at + 1;
            }
            _ => return false,
        }
    }
}

/// Whether one pattern element at `p` takes `c`; where the next one is.
fn single(c: char, pattern: &[char], p: usize, escape: Option<char>) -> Option<usize> {
    let first = *pattern.get(p)?;
    if Some(first) == escape {
        return (pattern.get(p + 1) == Some(&c)).then_some(p + 2);
    }
    match first {
        '_' => Some(p + 1),
        '[' => {
            let close = p + 1 + pattern.get(p + 1..)?.iter().position(|c| *c == ']')?;
            let class = pattern.get(p + 1..close)?;
            let (negated, class) = class.strip_prefix(&['^']).map_or((false, class), |rest| (true, rest));
            let mut found = false;
            let mut at = 0;
            while let Some(low) = class.get(at) {
                if class.get(at + 1) == Some(&'-')
                    && let Some(high) = class.get(at + 2)
                {
                    found |= (*low..=*high).contains(&c);
                    at += 3;
                } else {
                    found |= *low == c;
                    at += 1;
                }
            }
            (found != negated).then_some(close + 1)
        }
        other => (other == c).then_some(p + 1),
    }
}
