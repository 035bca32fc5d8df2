//! How long and how branched a function is.
//!
//! Cyclomatic complexity as promised: 1, and 1 more for each `if` (also `if let` and a guard),
//! `while`, `for`, `&&`, `||`, and each `match` inside another `match`. The arms of a flat `match`,
//! `loop`, `?` and `let … else` are not counted: they read from top to bottom.

use crate::lexer::{self, Kind, Token};

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
    pub(crate) complexity: usize,
}

/// All functions, nested ones on their own and not in the one around them.
pub(crate) fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((open, end)) = body(tokens, at) {
            let inner = &tokens[open + 1..end];
            out.push(Function {
                name: tokens[at + 1].text.clone(),
                line: tokens[at].line,
                lines: tokens[end - 1].line + 1 - tokens[at].line,
                complexity: complexity(inner),
            });
        }
        at += 1;
    }
    out
}

/// The opening brace and the end of the body of the function that begins at `at`.
fn body(tokens: &[Token], at: usize) -> Option<(usize, usize)> {
    if !tokens[at].is("fn") || tokens.get(at + 1)?.kind != Kind::Ident {
        return None;
    }
    let mut here = at + 2;
    loop {
        let token = tokens.get(here)?;
        match token.text.as_str() {
            _ if token.kind != Kind::Punct => here += 1,
            ";" => return None,
            "{" => return Some((here, lexer::close(tokens, here))),
            "(" | "[" => here = lexer::close(tokens, here),
            _ => here += 1,
        }
    }
}

fn complexity(tokens: &[Token]) -> usize {
    let mut count = 1;
    let mut depth = 0usize;
    let mut matches: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some((_, end)) = body(tokens, at) {
            at = end;
            continue;
        }
        count += usize::from(branches(tokens, at));
        match token.text.as_str() {
            "match" if token.kind == Kind::Ident => {
                count += usize::from(!matches.is_empty());
                let (open, inner) = scrutinee(tokens, at + 1);
                count += inner;
                matches.push(depth);
                depth += 1;
                at = open;
            }
            "{" if token.kind == Kind::Punct => depth += 1,
            "}" if token.kind == Kind::Punct => {
                depth = depth.saturating_sub(1);
                matches.pop_if(|at| *at == depth);
            }
            _ => {}
        }
        at += 1;
    }
    count
}

/// From after `match` to its opening brace, with the branches in between.
fn scrutinee(tokens: &[Token], begin: usize) -> (usize, usize) {
    let mut at = begin;
    while let Some(token) = tokens.get(at).filter(|t| !t.is("{")) {
        at = if token.is("(") || token.is("[") { lexer::close(tokens, at) } else { at + 1 };
    }
    let end = at.min(tokens.len());
    (at, complexity(&tokens[begin.min(end)..end]) - 1)
}

/// Does the token at `at` split the way in two?
fn branches(tokens: &[Token], at: usize) -> bool {
    let token = &tokens[at];
    match (token.kind, token.text.as_str()) {
        (Kind::Ident, "if" | "while") => true,
        (Kind::Ident, "for") => is_loop(tokens, at),
        (Kind::Punct, "&&" | "||") => at > 0 && ends_operand(&tokens[at - 1]),
        _ => false,
    }
}

/// `for x in y`, not `for<'a>` and not `impl A for B`.
fn is_loop(tokens: &[Token], at: usize) -> bool {
    let statement =
        tokens[..at].iter().rev().take_while(|t| ![";", "{", "}"].iter().any(|p| t.is(p)));
    !tokens.get(at + 1).is_some_and(|t| t.is("<")) && !statement.into_iter().any(|t| t.is("impl"))
}

/// Could an operand end here? Otherwise `||` opens a closure and `&&` is a double reference.
fn ends_operand(token: &Token) -> bool {
    const KEYWORDS: [&str; 7] = ["return", "move", "in", "if", "while", "match", "else"];
    match token.kind {
        Kind::Ident => !KEYWORDS.contains(&token.text.as_str()),
        Kind::Text | Kind::Number => true,
        Kind::Punct => [")", "]", "}", "?"].contains(&token.text.as_str()),
        Kind::Lifetime => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(body: &str) -> usize {
        let found = functions(&lexer::tokens(&format!("fn f(a: &&str) {{ {body} }}")));
        found[0].complexity
    }

    #[test]
    fn complexity_of_samples() {
        for (expected, body) in [
            (1, ""),
            (1, "a(); b()?; loop { break }"),
            (2, "if a { b } else { c }"),
            (3, "if a { b } else if c { d } else { e }"),
            (2, "if let Some(x) = y { x }"),
            (2, "while a { }"),
            (2, "for x in y { }"),
            (3, "if a && b { }"),
            (4, "a && b || c[0] && d() "),
            (1, "match a { A => 1, B => 2, C | D => 3, _ => 4 }"),
            (2, "match a { A if x => 1, _ => 4 }"),
            (2, "match a { A => match b { C => 1, _ => 2 }, _ => 4 }"),
            (1, "match a { A => 1, _ => 2 }; match b { A => 1, _ => 2 }"),
            (3, "match (a && b) { A => 1, _ => 2 }; if x { }"),
            (1, "let Some(x) = y else { return };"),
            (1, "let f = || 1; g(|| 2, move || 3); let r: &&str = &&\"x\";"),
            (1, "let f: Box<dyn for<'a> Fn(&'a str)> = x; impl A for B {}"),
            (1, "let s = \"if a && b\"; // if c"),
            (2, "g(|x| if x { 1 } else { 2 })"),
            (1, "fn inner() { if a { } }"),
        ] {
            assert_eq!(measure(body), expected, "{body}");
        }
    }

    #[test]
    fn functions_are_found_with_their_lines() {
        let text = "impl X {\n  pub async fn a<T>(x: [u8; 3]) -> T\n  where T: Y {\n  }\n}\n\
                    trait T { fn no_body(&self); }\ntype F = fn(u8);\nfn b() { fn c() {} }";
        let found = functions(&lexer::tokens(text));
        let names: Vec<(&str, usize, usize)> =
            found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(names, [("a", 2, 3), ("b", 8, 1), ("c", 8, 1)]);
    }
}
