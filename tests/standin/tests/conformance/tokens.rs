//! Rust's source as tokens, without comments: as much of the language as this list needs.

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// An identifier or keyword.
    Word(String),
    /// An integer.
    Number(i64),
    /// A string literal, unescaped.
    Text(String),
    /// Any other character.
    Symbol(char),
}

impl Token {
    /// Whether it is this word.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }

    /// Whether it is this character.
    pub fn sign(&self, sign: char) -> bool {
        *self == Self::Symbol(sign)
    }
}

/// Splits a source file.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut at, mut found) = (0, Vec::new());
    while at < chars.len() {
        let (token, next) = one(&chars, at);
        found.extend(token);
        at = next;
    }
    found
}

fn one(chars: &[char], at: usize) -> (Option<Token>, usize) {
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    match chars[at] {
        '/' if next == '/' => (None, until(chars, at, |c| c == '\n')),
        '/' if next == '*' => {
            let end = (at..chars.len()).find(|i| chars[*i..].starts_with(&['*', '/']));
            (None, end.map_or(chars.len(), |end| end + 2))
        }
        '"' => text(chars, at + 1),
        'r' if next == '"' || next == '#' && matches!(chars.get(at + 2), Some('"' | '#')) => raw(chars, at + 1),
        '\'' if next == '\\' => (None, until(chars, at + 3, |c| c == '\'') + 1),
        '\'' if chars.get(at + 2) == Some(&'\'') => (None, at + 3),
        c if c.is_ascii_digit() => {
            let end = until(chars, at, |c| !c.is_ascii_alphanumeric() && c != '_');
            let digits: String = chars[at..end].iter().filter(|c| **c != '_').collect();
            (Some(digits.parse().map_or(Token::Symbol('0'), Token::Number)), end)
        }
        c if c.is_alphabetic() || c == '_' => {
            let end = until(chars, at, |c| !c.is_alphanumeric() && c != '_');
            (Some(Token::Word(chars[at..end].iter().collect())), end)
        }
        c if c.is_whitespace() => (None, at + 1),
        c => (Some(Token::Symbol(c)), at + 1),
    }
}

fn until(chars: &[char], from: usize, ends: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|at| ends(chars[*at])).unwrap_or(chars.len())
}

fn text(chars: &[char], mut at: usize) -> (Option<Token>, usize) {
    let mut text = String::new();
    while at < chars.len() && chars[at] != '"' {
        if chars[at] != '\\' {
            text.push(chars[at]);
            at += 1;
            continue;
        }
        match chars.get(at + 1) {
            // A line that goes on: the spaces before its rest are not part of it.
            Some('\n') => at = until(chars, at + 1, |c| !c.is_whitespace()),
            escaped => {
                text.push(if escaped == Some(&'n') { '\n' } else { escaped.copied().unwrap_or(' ') });
                at += 2;
            }
        }
    }
    (Some(Token::Text(text)), at + 1)
}

fn raw(chars: &[char], at: usize) -> (Option<Token>, usize) {
    let start = until(chars, at, |c| c == '"') + 1;
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', start - 1 - at)).collect();
    let close = (start..chars.len()).find(|i| chars[*i..].starts_with(&end)).unwrap_or(chars.len());
    (Some(Token::Text(chars[start..close].iter().collect())), close + end.len())
}

/// Where the bracket that opens at `open` is closed.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Symbol('(' | '[' | '{') => depth += 1,
            Token::Symbol(')' | ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len() - 1
}
