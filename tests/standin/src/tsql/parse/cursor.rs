//! A cursor over the tokens of a batch.

use super::message::{incorrect_syntax, not_supported};
use crate::errors::{Message, SqlResult};
use sqlparser::{
    dialect::MsSqlDialect,
    tokenizer::{Token, TokenWithSpan, Tokenizer, Word},
};
use std::collections::BTreeSet;

pub(super) static DIALECT: MsSqlDialect = MsSqlDialect {};

/// Statements inside statements (error 191).
const DEEPEST: usize = 32;

/// Words that begin a statement and cannot stand inside a query or expression.
pub(super) const STARTS: [&str; 36] = [
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
    pub(super) tokens: Vec<TokenWithSpan>,
    pub(super) at: usize,
    /// Variables declared so far, lower case.
    pub variables: BTreeSet<String>,
    depth: usize,
    pub(super) text: Vec<String>,
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

    pub(super) fn bare(token: &Token) -> Option<&str> {
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
}

pub(super) fn too_deep() -> Message {
    Message::new(
        191,
        15,
        "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries.",
    )
}
