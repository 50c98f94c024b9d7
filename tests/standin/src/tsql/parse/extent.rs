//! Expressions, queries and DML at the cursor, and the rule where they end: T-SQL needs no semicolons.

use super::{
    cursor::{Cursor, DIALECT, STARTS, too_deep},
    message::incorrect_syntax,
};
use crate::errors::{Message, SqlResult};
use sqlparser::{
    ast::{Expr, Query, Statement as Parsed},
    parser::{Parser, ParserError, ParserOptions},
    tokenizer::{Token, TokenWithSpan},
};

/// Operators in one expression; more would nest too deeply (error 191).
const MOST_OPERATORS: usize = 500;

impl Cursor {
    /// Where the query or expression that starts here ends. `verbs`: statement words that belong to it, in order.
    fn end(&self, mut verbs: &[&str], stop_at_comma: bool) -> usize {
        let (mut parens, mut cases, mut at) = (0usize, 0usize, self.at);
        while let Some(token) = self.tokens.get(at).map(|token| &token.token) {
            match token {
                Token::LParen => parens += 1,
                Token::RParen if parens == 0 => return at,
                Token::RParen => parens -= 1,
                Token::SemiColon | Token::EOF => return at,
                Token::Comma if parens == 0 && stop_at_comma => return at,
                _ => {}
            }
            let word = if parens == 0 { Self::bare(token) } else { None };
            if let Some(word) = word {
                let word = word.to_ascii_uppercase();
                let belongs = verbs.first().is_some_and(|verb| *verb == word);
                if word == "CASE" {
                    cases += 1;
                } else if word == "END" && cases > 0 {
                    cases -= 1;
                } else if belongs {
                    verbs = verbs.get(1..).unwrap_or_default();
                } else if cases == 0 && STARTS.contains(&word.as_str()) && !self.continues(at, &word) {
                    return at;
                }
            }
            at += 1;
        }
        at
    }

    /// A SELECT after UNION and the like goes on; so does OUTPUT .. of FOR UPDATE.
    fn continues(&self, at: usize, word: &str) -> bool {
        let before = at.checked_sub(1).and_then(|at| self.tokens.get(at)).and_then(|token| Self::bare(&token.token));
        let before = before.unwrap_or_default().to_ascii_uppercase();
        (word == "SELECT" && at > self.at && ["UNION", "ALL", "EXCEPT", "INTERSECT"].contains(&before.as_str()))
            || (["UPDATE", "DELETE", "SET"].contains(&word) && before == "ON")
            || (["SET"].contains(&word) && ["DELETE", "UPDATE"].contains(&before.as_str()))
    }

    fn cut(&mut self, end: usize) -> SqlResult<Vec<TokenWithSpan>> {
        let slice = self.tokens.get(self.at..end).unwrap_or_default().to_vec();
        if slice.is_empty() {
            return Err(self.wrong());
        }
        let operators = slice.iter().filter(|token| is_operator(&token.token)).count();
        if operators > MOST_OPERATORS {
            return Err(too_deep());
        }
        for token in &slice {
            if let Some(name) = Self::bare(&token.token).filter(|word| word.starts_with('@') && !word.starts_with("@@"))
                && !self.variables.contains(&name.to_lowercase())
            {
                let mut message =
                    Message::new(137, 15, format!("Must declare the scalar variable \"{name}\".")).state(2);
                message.line = token.span.start.line as u32;
                return Err(message);
            }
        }
        self.at = end;
        Ok(slice)
    }

    fn parse<T>(&mut self, end: usize, what: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>) -> SqlResult<T> {
        let line = self.line();
        let slice = self.cut(end)?;
        let options = ParserOptions { require_semicolon_stmt_delimiter: false, ..ParserOptions::new() };
        let mut parser = Parser::new(&DIALECT).with_options(options).with_tokens_with_locations(slice);
        let result = what(&mut parser).map_err(|error| syntax(&error, line))?;
        let rest = parser.peek_token();
        if rest.token == Token::EOF {
            return Ok(result);
        }
        let mut message = incorrect_syntax(&rest.token.to_string());
        message.line = rest.span.start.line as u32;
        Err(message)
    }

    /// An expression; `stop_at_comma` when it is one of several.
    pub fn expression(&mut self, stop_at_comma: bool) -> SqlResult<Expr> {
        let end = self.end(&[], stop_at_comma);
        self.parse(end, |parser| parser.parse_expr())
    }

    /// A query with its CTEs.
    pub fn query(&mut self) -> SqlResult<Box<Query>> {
        let end = self.end(&["SELECT"], false);
        self.parse(end, |parser| parser.parse_query())
    }

    /// INSERT, UPDATE or DELETE, perhaps after WITH; `verbs` as in [`Self::end`].
    pub fn statement(&mut self, verbs: &[&str]) -> SqlResult<Parsed> {
        let end = self.end(verbs, false);
        self.parse(end, |parser| parser.parse_statement())
    }

    /// The source text from here to the end of the batch; moves to the end.
    pub fn rest(&mut self) -> String {
        let start = self.tokens.get(self.at).map(|token| token.span.start);
        self.at = self.tokens.len();
        let Some(start) = start else { return String::new() };
        let lines = self.text.iter().skip((start.line as usize).saturating_sub(1));
        let mut rest = String::new();
        for (number, line) in lines.enumerate() {
            if number == 0 {
                rest.extend(line.chars().skip((start.column as usize).saturating_sub(1)));
            } else {
                rest.push('\n');
                rest.push_str(line);
            }
        }
        rest
    }
}

fn is_operator(token: &Token) -> bool {
    matches!(token, Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::Eq | Token::Ampersand)
        || matches!(token, Token::Word(word) if word.quote_style.is_none()
            && ["AND", "OR", "NOT", "UNION", "JOIN", "COLLATE"].iter().any(|w| w.eq_ignore_ascii_case(&word.value)))
}

/// sqlparser's complaint as 102.
fn syntax(error: &ParserError, line: u32) -> Message {
    let text = match error {
        ParserError::RecursionLimitExceeded => return too_deep(),
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    let near = text.split("found: ").nth(1).and_then(|rest| rest.split(" at Line").next()).unwrap_or(text);
    let at = text.split("Line: ").nth(1).and_then(|rest| rest.split(',').next()).and_then(|line| line.parse().ok());
    let mut message = incorrect_syntax(near);
    message.line = at.unwrap_or(line);
    message
}
