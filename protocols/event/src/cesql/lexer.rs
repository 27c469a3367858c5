//! The words of an expression: names, numbers, quoted texts, symbols (CESQL 1.0, chapter 2).

use super::error::SyntaxError;

/// What a piece of the expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Letters, digits and underscores that are neither a number nor a keyword.
    Word,
    /// Digits.
    Digits,
    /// Text in single or double quotes, as it stands.
    Quoted,
    True,
    False,
    And,
    Or,
    Xor,
    Not,
    Like,
    Exists,
    In,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Open,
    Close,
    Comma,
    End,
}

/// Keywords, in whatever case they are written.
const KEYWORDS: [(&str, TokenKind); 9] = [
    ("TRUE", TokenKind::True),
    ("FALSE", TokenKind::False),
    ("AND", TokenKind::And),
    ("OR", TokenKind::Or),
    ("XOR", TokenKind::Xor),
    ("NOT", TokenKind::Not),
    ("LIKE", TokenKind::Like),
    ("EXISTS", TokenKind::Exists),
    ("IN", TokenKind::In),
];

/// Symbols, those of two characters before their first characters alone.
const SYMBOLS: [(&str, TokenKind); 15] = [
    ("!=", TokenKind::NotEqual),
    ("<>", TokenKind::NotEqual),
    ("<=", TokenKind::LessOrEqual),
    (">=", TokenKind::GreaterOrEqual),
    ("<", TokenKind::Less),
    (">", TokenKind::Greater),
    ("=", TokenKind::Equal),
    ("+", TokenKind::Plus),
    ("-", TokenKind::Minus),
    ("*", TokenKind::Star),
    ("/", TokenKind::Slash),
    ("%", TokenKind::Percent),
    ("(", TokenKind::Open),
    (")", TokenKind::Close),
    (",", TokenKind::Comma),
];

/// A piece of the expression and where it begins, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    pub(super) kind: TokenKind,
    pub(super) text: &'s str,
    pub(super) at: usize,
}

/// Reads the source piece by piece.
#[derive(Clone)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    pub(super) fn source(&self) -> &'s str {
        self.source
    }

    /// The next piece; after the last one, [`TokenKind::End`] for ever.
    pub(super) fn next(&mut self) -> Result<Token<'s>, SyntaxError> {
        let rest = self.source[self.at..].trim_start_matches([' ', '\t', '\r', '\n']);
        let at = self.source.len() - rest.len();
        let (kind, length) = self.measure(rest, at)?;
        self.at = at + length;
        Ok(Token { kind, text: &rest[..length], at })
    }

    /// What `rest`, which begins at the byte `at`, begins with, and how many bytes that is.
    fn measure(&self, rest: &str, at: usize) -> Result<(TokenKind, usize), SyntaxError> {
        let Some(first) = rest.chars().next() else {
            return Ok((TokenKind::End, 0));
        };
        if first.is_ascii_alphanumeric() {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let word = &rest[..end.unwrap_or(rest.len())];
            return Ok((kind_of_word(word), word.len()));
        }
        if first == '\'' || first == '"' {
            return quoted_length(rest, first)
                .map(|length| (TokenKind::Quoted, length))
                .ok_or_else(|| {
                    let end = self.source.len();
                    SyntaxError::new(self.source, end, format!("a closing {first}"), "")
                });
        }
        SYMBOLS
            .iter()
            .find(|(symbol, _)| rest.starts_with(symbol))
            .map(|(symbol, kind)| (*kind, symbol.len()))
            .ok_or_else(|| {
                let found = &rest[..first.len_utf8()];
                SyntaxError::new(self.source, at, "a literal, a name or an operator", found)
            })
    }
}

fn kind_of_word(word: &str) -> TokenKind {
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return TokenKind::Digits;
    }
    KEYWORDS
        .iter()
        .find(|(keyword, _)| keyword.eq_ignore_ascii_case(word))
        .map_or(TokenKind::Word, |(_, kind)| *kind)
}

/// The length in bytes of the quoted text that `rest` begins with, quotes included; `None` when it
/// does not end. A backslash takes the character after it along, so that it does not end there.
fn quoted_length(rest: &str, quote: char) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(at + 1);
        }
    }
    None
}

/// The content of a quoted text: `\` before the quote that delimits it falls away, every other
/// backslash stays (2.2; LIKE has its own use for them).
pub(super) fn unquote(quoted: &str) -> String {
    let quote = quoted.chars().next().unwrap_or_default();
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut content = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            content.push(character);
            continue;
        }
        match characters.next() {
            Some(escaped) if escaped == quote => content.push(quote),
            Some(other) => content.extend(['\\', other]),
            None => content.push('\\'),
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<TokenKind> {
        let mut lexer = Lexer::new(source);
        let mut kinds = Vec::new();
        loop {
            let token = lexer.next().unwrap();
            if token.kind == TokenKind::End {
                return kinds;
            }
            kinds.push(token.kind);
        }
    }

    #[test]
    fn an_expression_falls_into_words_and_symbols() {
        use TokenKind::{
            And, Close, Digits, Equal, In, Less, LessOrEqual, Minus, NotEqual, Open, Quoted, Word,
        };
        let rows: [(&str, &[TokenKind]); 8] = [
            ("", &[]),
            (" \t\r\n", &[]),
            ("a1=12", &[Word, Equal, Digits]),
            ("1a<=a_b", &[Word, LessOrEqual, Word]),
            ("<><!=", &[NotEqual, Less, NotEqual]),
            ("-5anD-x", &[Minus, Word, Minus, Word]),
            ("'a''b'\"c\"", &[Quoted, Quoted, Quoted]),
            ("and in(inn)", &[And, In, Open, Word, Close]),
        ];
        for (source, expected) in rows {
            assert_eq!(kinds(source), expected, "{source}");
        }
    }

    #[test]
    fn a_quoted_text_ends_at_its_own_quote() {
        let rows = [
            (r"'abc'", "abc"),
            (r#""abc""#, "abc"),
            (r"''", ""),
            (r"'\''", "'"),
            (r#""\"""#, "\""),
            (r#"'a"b'"#, "a\"b"),
            (r#"'a\"b'"#, "a\\\"b"),
            (r"'a\%\_\c'", r"a\%\_\c"),
            (r"'a\\'", r"a\\"),
            (r"'a\\\'b'", r"a\\'b"),
            ("'\u{e9}\u{1f600}'", "\u{e9}\u{1f600}"),
        ];
        for (source, expected) in rows {
            let token = Lexer::new(source).next().unwrap();
            assert_eq!(token.text, source);
            assert_eq!(unquote(token.text), expected, "{source}");
        }
        for open in ["'", "'a", r"'a\'", "\"a'", r"'\"] {
            let error = Lexer::new(open).next().unwrap_err();
            assert_eq!(error.column, open.chars().count() + 1, "{open}");
        }
    }
}
