//! A real parser's opinion of a text. `proxy/fuzz` asks it as well.

use sqlparser::ast::Statement;
use sqlparser::dialect::MySqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

/// Whether the parser finds a single statement that leaves the session as it is; `None` if it is no SQL to it.
pub(crate) fn parser_approves(text: &str) -> Option<bool> {
    let dialect = MySqlDialect {};
    let statements = Parser::parse_sql(&dialect, text).ok()?;
    let tokens = Tokenizer::new(&dialect, text).tokenize().ok()?;
    let into_max = match statements.as_slice() {
        [Statement::Insert(_)] => 1,
        [
            Statement::Query(_)
            | Statement::Update { .. }
            | Statement::Delete(_)
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. },
        ] => 0,
        [Statement::StartTransaction { statements, .. }] if statements.is_empty() => 0,
        _ => return Some(false),
    };
    let into = tokens
        .iter()
        .filter(|token| matches!(token, Token::Word(word) if word.keyword == Keyword::INTO))
        .count();
    Some(into <= into_max && !tokens.iter().any(is_forbidden))
}

fn is_forbidden(token: &Token) -> bool {
    const FUNCTIONS: [&str; 5] = [
        "GET_LOCK",
        "RELEASE_LOCK",
        "RELEASE_ALL_LOCKS",
        "PROXY_VERSION",
        "PROXY_STATUS",
    ];
    match token {
        Token::AtSign | Token::AtAt => true,
        Token::Placeholder(name) => name.starts_with('@'),
        Token::Word(word) if word.quote_style.is_none() => {
            word.value.contains('@') || FUNCTIONS.contains(&word.value.to_uppercase().as_str())
        }
        Token::Whitespace(Whitespace::MultiLineComment(comment)) => {
            comment.starts_with('!') || comment.starts_with("M!")
        }
        _ => false,
    }
}
