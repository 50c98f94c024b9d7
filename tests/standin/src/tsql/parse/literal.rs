//! Names, variables, literals and types at the cursor.

use super::cursor::Cursor;
use crate::{
    errors::{Message, SqlResult},
    tsql::{ast::ObjectName, convert, kind},
    value::SqlType,
};
use sqlparser::tokenizer::Token;

impl Cursor {
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
        let bytes = convert::hex(text).ok_or_else(|| self.wrong())?;
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
}
