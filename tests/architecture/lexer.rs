//! A lexer for as much of Rust as the laws need: comments vanish, strings keep their text but can
//! never be mistaken for code, and what is compiled only for tests can be cut out.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ident,
    Lifetime,
    /// A string, byte string or character, without its quotes.
    Text,
    Number,
    Punct,
}

/// One token and the line it begins on (from 1).
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text && matches!(self.kind, Kind::Ident | Kind::Punct)
    }
}

/// Two-character operators that would mean something else if they were read one by one.
const PAIRS: [&str; 11] = ["::", "&&", "||", "=>", "->", "==", "!=", "<=", ">=", "|=", "&="];

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn more(&self) -> bool {
        self.at < self.chars.len()
    }

    fn take(&mut self) -> char {
        let c = self.peek(0);
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        c
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while self.more() && accept(self.peek(0)) {
            text.push(self.take());
        }
        text
    }

    fn line_comment(&mut self) {
        self.take_while(|c| c != '\n');
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.more() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.take();
                    continue;
                }
            }
            self.take();
            self.take();
            if depth == 0 {
                return;
            }
        }
    }

    /// The rest of a quoted text whose opening quote was taken.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        while self.more() {
            match self.take() {
                '\\' => text.push(self.take()),
                c if c == quote => break,
                c => text.push(c),
            }
        }
        text
    }

    /// How many `#` a raw string has from here, if one begins `ahead` characters on.
    fn raw_hashes(&self, ahead: usize) -> Option<usize> {
        let hashes = (0..).take_while(|n| self.peek(ahead + n) == '#').count();
        (self.peek(ahead + hashes) == '"').then_some(hashes)
    }

    fn raw(&mut self, prefix: usize, hashes: usize) -> String {
        for _ in 0..=prefix + hashes {
            self.take();
        }
        let mut text = String::new();
        while self.more() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                for _ in 0..=hashes {
                    self.take();
                }
                break;
            }
            text.push(self.take());
        }
        text
    }

    /// A string literal with a letter before its quote (`r"" b"" br#""# c"" b''`), if here is one.
    fn prefixed_text(&mut self) -> Option<String> {
        let prefix = (0..3).take_while(|n| matches!(self.peek(*n), 'r' | 'b' | 'c')).count();
        if prefix == 0 || prefix > 2 {
            return None;
        }
        let raw = (0..prefix).any(|n| self.peek(n) == 'r');
        if raw {
            let hashes = self.raw_hashes(prefix)?;
            return Some(self.raw(prefix, hashes));
        }
        let quote = self.peek(prefix);
        if prefix != 1 || !(quote == '"' || (quote == '\'' && self.peek(0) == 'b')) {
            return None;
        }
        self.take();
        self.take();
        Some(self.quoted(quote))
    }

    fn apostrophe(&mut self) -> (Kind, String) {
        self.take();
        if self.peek(0) == '\\' || self.peek(1) == '\'' {
            return (Kind::Text, self.quoted('\''));
        }
        (Kind::Lifetime, self.take_while(|c| c.is_alphanumeric() || c == '_'))
    }

    fn number(&mut self) -> String {
        let mut text = self.take_while(|c| c.is_alphanumeric() || c == '_');
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            text.push(self.take());
            text += &self.take_while(|c| c.is_alphanumeric() || c == '_');
        }
        text
    }

    fn ident(&mut self) -> String {
        if self.peek(0) == 'r' && self.peek(1) == '#' {
            self.take();
            self.take();
            return format!("r#{}", self.take_while(|c| c.is_alphanumeric() || c == '_'));
        }
        self.take_while(|c| c.is_alphanumeric() || c == '_')
    }

    fn punct(&mut self) -> String {
        let pair: String = [self.peek(0), self.peek(1)].iter().collect();
        self.take();
        if PAIRS.contains(&pair.as_str()) {
            self.take();
            return pair;
        }
        pair.chars().take(1).collect()
    }

    fn token(&mut self) -> (Kind, String) {
        if let Some(text) = self.prefixed_text() {
            return (Kind::Text, text);
        }
        match self.peek(0) {
            '"' => {
                self.take();
                (Kind::Text, self.quoted('"'))
            }
            '\'' => self.apostrophe(),
            c if c.is_ascii_digit() => (Kind::Number, self.number()),
            c if c.is_alphabetic() || c == '_' => (Kind::Ident, self.ident()),
            _ => (Kind::Punct, self.punct()),
        }
    }
}

/// The tokens of a source text, comments and white space gone.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { chars: source.chars().collect(), at: 0, line: 1 };
    let mut out = Vec::new();
    while reader.more() {
        match (reader.peek(0), reader.peek(1)) {
            ('/', '/') => reader.line_comment(),
            ('/', '*') => reader.block_comment(),
            (c, _) if c.is_whitespace() => {
                reader.take();
            }
            _ => {
                let line = reader.line;
                let (kind, text) = reader.token();
                out.push(Token { kind, text, line });
            }
        }
    }
    out
}

/// Source tokens without what only tests compile.
pub(crate) struct Shipped {
    pub(crate) tokens: Vec<Token>,
    /// Lines that belong to test-only items.
    pub(crate) test_lines: usize,
    /// Modules declared `#[cfg(test)] mod NAME;`, whose files are test-only as a whole.
    pub(crate) test_modules: Vec<String>,
}

/// Cuts out every item under `#[cfg(test)]`.
pub(crate) fn shipped(tokens: &[Token]) -> Shipped {
    let mut out = Shipped { tokens: Vec::new(), test_lines: 0, test_modules: Vec::new() };
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let Some(attribute_end) = attribute(tokens, at) else {
            out.tokens.push(token.clone());
            at += 1;
            continue;
        };
        let body = &tokens[at..attribute_end];
        if !for_tests_only(body) {
            out.tokens.extend_from_slice(body);
            at = attribute_end;
            continue;
        }
        let inner = body.get(1).is_some_and(|t| t.is("!"));
        let end = if inner { tokens.len() } else { item_end(tokens, attribute_end) };
        let last = tokens.get(end.saturating_sub(1)).map_or(token.line, |t| t.line);
        out.test_lines += last + 1 - token.line;
        out.test_modules.extend(declared_module(&tokens[attribute_end..end]));
        at = end;
    }
    out
}

/// The index after the attribute that begins at `at`, if one does.
fn attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let bracket = if tokens.get(at + 1)?.is("!") { at + 2 } else { at + 1 };
    if !tokens[at].is("#") || !tokens.get(bracket)?.is("[") {
        return None;
    }
    Some(close(tokens, bracket))
}

/// `cfg(test)` and `cfg(all(test, …))`, but not `cfg(not(test))`, `cfg(any(test, …))`, `cfg_attr`.
fn for_tests_only(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|t| t.is(word));
    has("cfg") && has("test") && !has("not") && !has("any")
}

/// The index after the bracket that closes the one at `open` (whatever brackets they are).
pub(crate) fn close(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind != Kind::Punct {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The index after the item, statement, field or arm that begins at `at`.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while let Some(next) = tokens.get(at).and_then(|_| attribute(tokens, at)) {
        at = next;
    }
    let begin = at;
    let words = ["use", "let", "static", "const", "type"];
    let to_semicolon = |begin: usize| {
        let word = tokens[begin..].iter().find(|t| !is_visibility(t));
        let function = tokens[begin..].iter().take(6).any(|t| t.is("fn"));
        word.is_some_and(|t| words.contains(&t.text.as_str())) && !function
    };
    let only_semicolon = begin < tokens.len() && to_semicolon(begin);
    let item = tokens[begin..].iter().take(8).any(|t| {
        ["fn", "mod", "impl", "struct", "enum", "trait", "macro_rules"].contains(&t.text.as_str())
    });
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            _ if token.kind != Kind::Punct => at += 1,
            ";" => return at + 1,
            "," if !item && !only_semicolon => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if !only_semicolon => return close(tokens, at),
            "(" | "[" | "{" => at = close(tokens, at),
            _ => at += 1,
        }
    }
    at
}

fn is_visibility(token: &Token) -> bool {
    ["pub", "(", "crate", "super", ")"].contains(&token.text.as_str())
}

/// The name of a module declared without a body.
fn declared_module(item: &[Token]) -> Option<String> {
    let word = item.iter().position(|t| t.is("mod"))?;
    let semicolon = item.get(word + 2)?.is(";");
    semicolon.then(|| item[word + 1].text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|t| t.text).collect()
    }

    fn code(source: &str) -> String {
        shipped(&tokens(source)).tokens.into_iter().map(|t| t.text + " ").collect()
    }

    #[test]
    fn comments_vanish_also_nested_ones() {
        assert_eq!(words("a // unsafe\n/* x /* y */ unsafe */ b /// doc"), ["a", "b"]);
    }

    #[test]
    fn strings_are_one_token_and_never_code() {
        let source =
            "\"un\\\"safe\" r#\"a \" b\"# b\"x\" br##\"y\"# \"## 'c' '\\'' b'\\'' c\"z\" end";
        let kinds: Vec<Kind> = tokens(source).iter().map(|t| t.kind).collect();
        assert_eq!(kinds[..kinds.len() - 1], [Kind::Text; 8]);
        assert_eq!(words(source).last().map(String::as_str), Some("end"));
        assert!(!tokens("\"unsafe\"")[0].is("unsafe"));
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let all = tokens("&'a str, 'x', '_', r#type, &'static str");
        let lifetimes: Vec<&str> =
            all.iter().filter(|t| t.kind == Kind::Lifetime).map(|t| t.text.as_str()).collect();
        assert_eq!(lifetimes, ["a", "static"]);
        assert!(all.iter().any(|t| t.is("r#type")));
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let all = tokens("a\n\"x\ny\"\n/*\n*/ b");
        assert_eq!(all.last().map(|t| t.line), Some(5));
    }

    #[test]
    fn numbers_and_ranges() {
        assert_eq!(
            words("0..10 1.5e3 2.max(3)"),
            ["0", ".", ".", "10", "1.5e3", "2", ".", "max", "(", "3", ")"]
        );
    }

    #[test]
    fn test_items_are_cut_out_and_nothing_else() {
        assert_eq!(code("a; #[cfg(test)] mod t { fn x() { { } } } b"), "a ; b ");
        assert_eq!(code("#[cfg(test)] #[derive(A)] pub(crate) struct S; b"), "b ");
        assert_eq!(code("#[cfg(test)] use a::{b, c}; d"), "d ");
        assert_eq!(
            code("#[cfg(all(test, unix))] fn f<A, B>(a: A, b: B) -> [u8; 2] { [1, 2] } d"),
            "d "
        );
        assert_eq!(code("struct S { #[cfg(test)] a: u8, b: u8 }"), "struct S { b : u8 } ");
        assert_eq!(code("#[cfg(test)] const A: [u8; 2] = { [1, 2] }; d"), "d ");
        assert_eq!(code("#[cfg(test)] pub const fn f() { } d"), "d ");
        assert_eq!(code("x #![cfg(test)] y"), "x ");
        assert_eq!(code("#[cfg(not(test))] a"), "# [ cfg ( not ( test ) ) ] a ");
        assert!(code("#[cfg_attr(test, allow(x))] a").ends_with("] a "));
    }

    #[test]
    fn out_of_line_test_modules_are_named_and_lines_counted() {
        let cut = shipped(&tokens("a\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod t {\n}\n"));
        assert_eq!(cut.test_modules, ["tests"]);
        assert_eq!(cut.test_lines, 5);
    }
}
