//! A cursor over the tokens of a batch, and the rule where a statement ends: T-SQL needs no semicolons.

use super::message::{incorrect_syntax, not_supported};
use crate::{
    errors::{Message, SqlResult},
    tsql::{ast::ObjectName, kind},
    value::SqlType,
};
use sqlparser::{
    ast::{Expr, Query, Statement as Parsed},
    dialect::MsSqlDialect,
    parser::{Parser, ParserError, ParserOptions},
    tokenizer::{Token, TokenWithSpan, Tokenizer, Word},
};
use std::collections::BTreeSet;

static DIALECT: MsSqlDialect = MsSqlDialect {};

/// Operators in one expression; more would nest too deeply (error 191).
const MOST_OPERATORS: usize = 500;
/// Statements inside statements (error 191).
const DEEPEST: usize = 32;

/// Words that begin a statement and cannot stand inside a query or expression.
const STARTS: [&str; 36] = [
    "IF",
    "WHILE",
    "BEGIN",
    "END",
    "DECLARE",
    "SET",
    "EXEC",
    "EXECUTE",
    "PRINT",
    "RAISERROR",
    "THROW",
    "WAITFOR",
    "USE",
    "KILL",
    "GRANT",
    "DENY",
    "REVOKE",
    "CREATE",
    "ALTER",
    "DROP",
    "BACKUP",
    "RESTORE",
    "COMMIT",
    "ROLLBACK",
    "SAVE",
    "RETURN",
    "BREAK",
    "CONTINUE",
    "ELSE",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "MERGE",
    "SELECT",
    "GO",
];

/// The cursor.
pub struct Cursor {
    tokens: Vec<TokenWithSpan>,
    at: usize,
    /// Variables declared so far, lower case.
    pub variables: BTreeSet<String>,
    depth: usize,
    text: Vec<String>,
}

impl Cursor {
    /// Tokenises a batch. `variables`: parameters that come with it.
    pub fn new(sql: &str, variables: BTreeSet<String>) -> SqlResult<Self> {
        let tokens = Tokenizer::new(&DIALECT, sql).tokenize_with_location().map_err(|error| {
            let mut message = if error.message.contains("Unterminated string") || error.message.contains("closing") {
                Message::new(105, 15, "Unclosed quotation mark after the character string.")
            } else {
                incorrect_syntax(&error.message)
            };
            message.line = error.location.line as u32;
            message
        })?;
        let tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        Ok(Self { tokens, at: 0, variables, depth: 0, text: sql.lines().map(str::to_string).collect() })
    }

    /// The token `ahead`.
    pub fn token(&self, ahead: usize) -> &Token {
        self.tokens.get(self.at + ahead).map_or(&Token::EOF, |token| &token.token)
    }

    /// Line of the current token; of the last one at the end.
    pub fn line(&self) -> u32 {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map_or(1, |token| token.span.start.line as u32)
    }

    /// Position, for [`Self::back_to`].
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes back.
    pub fn back_to(&mut self, position: usize) {
        self.at = position;
    }

    /// Skips a token.
    pub fn skip(&mut self) {
        self.at += 1;
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        *self.token(0) == Token::EOF
    }

    fn bare(token: &Token) -> Option<&str> {
        match token {
            Token::Word(Word { value, quote_style: None, .. }) => Some(value),
            _ => None,
        }
    }

    /// Whether the word `ahead` is this one, not quoted.
    pub fn is_at(&self, ahead: usize, word: &str) -> bool {
        Self::bare(self.token(ahead)).is_some_and(|bare| bare.eq_ignore_ascii_case(word))
    }

    /// Whether the next word is this one.
    pub fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    /// Whether the next words are these.
    pub fn are(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.is_at(ahead, word))
    }

    /// Takes these words if they are next.
    pub fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.are(words);
        if found {
            self.at += words.len();
        }
        found
    }

    /// Takes these words or fails.
    pub fn expect(&mut self, words: &[&str]) -> SqlResult<()> {
        for word in words {
            if !self.accept(&[word]) {
                return Err(self.wrong());
            }
        }
        Ok(())
    }

    /// Takes a symbol if it is next.
    pub fn accept_symbol(&mut self, symbol: &Token) -> bool {
        let found = self.token(0) == symbol;
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a symbol or fails.
    pub fn expect_symbol(&mut self, symbol: &Token) -> SqlResult<()> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.wrong()) }
    }

    /// 102 or 156 at the current token.
    pub fn wrong(&self) -> Message {
        let last = self.tokens.last().map_or(Token::EOF, |token| token.token.clone());
        let token = if self.is_done() { &last } else { self.token(0) };
        let mut message = match Self::bare(token) {
            Some(word) if STARTS.iter().any(|start| start.eq_ignore_ascii_case(word)) => {
                Message::new(156, 15, format!("Incorrect syntax near the keyword '{word}'."))
            }
            Some(word) => incorrect_syntax(word),
            None => match token {
                Token::Word(word) => incorrect_syntax(&word.value),
                Token::SingleQuotedString(text) | Token::NationalStringLiteral(text) => incorrect_syntax(text),
                other => incorrect_syntax(&other.to_string()),
            },
        };
        message.line = self.line();
        message
    }

    /// An error that names a construct nobody implements.
    pub fn unsupported(&self, construct: &str) -> Message {
        let mut message = not_supported(construct);
        message.line = self.line();
        message
    }

    /// Enters a nested statement.
    pub fn enter(&mut self) -> SqlResult<()> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(too_deep()) } else { Ok(()) }
    }

    /// Leaves it.
    pub fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// A name, quoted or not.
    pub fn name(&mut self) -> SqlResult<String> {
        match self.token(0) {
            Token::Word(word) if !word.value.starts_with('@') && !word.value.is_empty() => {
                let name = word.value.clone();
                self.at += 1;
                if name.chars().count() > 128 {
                    let start: String = name.chars().take(128).collect();
                    return Err(Message::new(
                        103,
                        15,
                        format!("The identifier that starts with '{start}' is too long. Maximum length is 128."),
                    ));
                }
                Ok(name)
            }
            _ => Err(self.wrong()),
        }
    }

    /// A bare word, upper case.
    pub fn keyword(&mut self) -> SqlResult<String> {
        let word = Self::bare(self.token(0)).map(str::to_ascii_uppercase);
        let word = word.ok_or_else(|| self.wrong())?;
        self.at += 1;
        Ok(word)
    }

    /// `[[database.]schema.]name`
    pub fn object_name(&mut self) -> SqlResult<ObjectName> {
        let mut parts = vec![Some(self.name()?)];
        while self.accept_symbol(&Token::Period) {
            if *self.token(0) == Token::Period {
                parts.push(None);
            } else {
                parts.push(Some(self.name()?));
            }
        }
        let name = parts.pop().flatten().ok_or_else(|| self.wrong())?;
        let schema = parts.pop().flatten();
        let database = parts.pop().flatten();
        if !parts.is_empty() {
            return Err(self.unsupported("A name with four parts"));
        }
        Ok(ObjectName { database, schema, name })
    }

    /// `@name`, lower case.
    pub fn variable(&mut self) -> SqlResult<String> {
        match Self::bare(self.token(0)) {
            Some(word) if word.starts_with('@') && !word.starts_with("@@") && word.len() > 1 => {
                let name = word.to_lowercase();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wrong()),
        }
    }

    /// Whether a variable is next.
    pub fn at_variable(&self) -> bool {
        Self::bare(self.token(0)).is_some_and(|word| word.starts_with('@') && !word.starts_with("@@"))
    }

    /// A string literal.
    pub fn string(&mut self) -> SqlResult<String> {
        match self.token(0) {
            Token::SingleQuotedString(text) | Token::NationalStringLiteral(text) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.wrong()),
        }
    }

    /// An integer literal.
    pub fn integer(&mut self) -> SqlResult<i64> {
        let negative = self.accept_symbol(&Token::Minus);
        let Token::Number(text, _) = self.token(0) else { return Err(self.wrong()) };
        let value = text.parse::<i64>().map_err(|_| self.wrong())?;
        self.at += 1;
        Ok(if negative { -value } else { value })
    }

    /// A binary literal.
    pub fn binary(&mut self) -> SqlResult<Vec<u8>> {
        let Token::HexStringLiteral(text) = self.token(0) else { return Err(self.wrong()) };
        let bytes = super::super::convert::hex(text).ok_or_else(|| self.wrong())?;
        self.at += 1;
        Ok(bytes)
    }

    /// A data type.
    pub fn data_type(&mut self) -> SqlResult<SqlType> {
        let mut text = self.name()?;
        if self.accept_symbol(&Token::Period) {
            text = self.name()?;
        }
        if self.accept(&["VARYING"]) {
            text = format!("var{text}");
        }
        let mut arguments = Vec::new();
        if self.accept_symbol(&Token::LParen) {
            loop {
                if self.accept(&["MAX"]) {
                    arguments.push("max".to_string());
                } else {
                    arguments.push(self.integer()?.to_string());
                }
                if !self.accept_symbol(&Token::Comma) {
                    break;
                }
            }
            self.expect_symbol(&Token::RParen)?;
        }
        kind::from_parts(&text, &arguments)
    }

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

fn too_deep() -> Message {
    Message::new(
        191,
        15,
        "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries.",
    )
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
