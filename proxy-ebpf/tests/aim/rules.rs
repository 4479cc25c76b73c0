//! What a text's tokens say about who may answer it.

use crate::lexer::{self, Kind, Server, Token};

/// Reserved words that are no function's name.
const RESERVED: &str = " ALL AND AS BETWEEN BY CASE DISTINCT DIV ELSE EXISTS FROM HAVING IN INTERVAL JOIN KEY INDEX LIKE LIMIT NOT ON OR \
    PARTITION REGEXP RLIKE SELECT THEN UNION USING WHEN WHERE XOR ";

/// Native functions that give the same on every node.
const PURE: &str = " ABS AVG CAST CEIL CEILING CHAR CHAR_LENGTH COALESCE CONCAT CONCAT_WS CONVERT COUNT CURDATE DATE DATEDIFF DATE_ADD \
    DATE_FORMAT DATE_SUB DAY DECIMAL EXTRACT FIND_IN_SET FLOOR FROM_UNIXTIME GREATEST GROUP_CONCAT HEX HOUR IF IFNULL INSTR JSON_EXTRACT \
    JSON_UNQUOTE LCASE LEAST LEFT LENGTH LN LOCATE LOG LOWER LPAD LTRIM MAX MIN MINUTE MOD MONTH NOW NULLIF RAND REPLACE RIGHT ROUND RPAD RTRIM \
    SECOND SQRT STD SUBSTR SUBSTRING SUBSTRING_INDEX SUM TIMESTAMPDIFF TRIM UCASE UNHEX UNIX_TIMESTAMP UPPER WEEK YEAR ";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    Nothing,
    /// It asks about the statement before.
    Before,
    Call,
    Word,
    /// A word that cannot stand behind a first column, or INTO, which the first automaton traps.
    Front,
    Variable,
    SecondStatement,
    Unclear,
}

fn is(words: &str, word: &str) -> bool {
    words.contains(&format!(" {word} "))
}

pub(crate) fn finding(server: Server, text: &[u8]) -> Finding {
    let Ok(tokens) = lexer::tokens(server, text) else {
        return Finding::Unclear;
    };
    let mut finding = Finding::Nothing;
    for at in 0..tokens.len() {
        match token(&tokens[..=at], tokens.get(at + 1)) {
            Finding::Nothing => {}
            Finding::Front if finding == Finding::Before => {}
            Finding::Before => finding = Finding::Before,
            found => return found,
        }
    }
    finding
}

/// What the last one of these tokens says.
fn token(tokens: &[Token], next: Option<&Token>) -> Finding {
    let at = tokens.len() - 1;
    let dot = |token: Option<&Token>| token.is_some_and(|token| token.kind == Kind::Symbol(b'.'));
    let behind_dot = at > 0 && dot(tokens.get(at - 1));
    match &tokens[at].kind {
        Kind::Symbol(b'@') => Finding::Variable,
        Kind::Symbol(b';') if next.is_some() => Finding::SecondStatement,
        Kind::Symbol(b'(') if at > 0 => call(&tokens[..at], tokens[at].joined),
        Kind::Word(word) if !behind_dot && word == "FOR" => Finding::Word,
        Kind::Word(word) if !behind_dot && is(" INTO SQL_CALC_FOUND_ROWS ", word) => Finding::Front,
        Kind::Word(word) if behind_dot && is(" NEXTVAL CURRVAL ", word) => Finding::Word,
        Kind::Word(name) | Kind::Name(name) => {
            let schema = !behind_dot && dot(next) && is(" MYSQL SYS PERFORMANCE_SCHEMA ", name);
            let table = behind_dot && is(" PROCESSLIST PROFILING OPTIMIZER_TRACE ", name);
            if schema || table {
                Finding::Word
            } else {
                Finding::Nothing
            }
        }
        _ => Finding::Nothing,
    }
}

/// What a parenthesis behind these tokens says.
fn call(tokens: &[Token], joined: bool) -> Finding {
    let at = tokens.len() - 1;
    let qualified = at > 0 && tokens[at - 1].kind == Kind::Symbol(b'.');
    match &tokens[at].kind {
        Kind::Word(_) if qualified => Finding::Call,
        Kind::Word(word) if is(RESERVED, word) => Finding::Nothing,
        // Behind `)` no call begins.
        Kind::Word(word)
            if word == "OVER" && at > 0 && tokens[at - 1].kind == Kind::Symbol(b')') =>
        {
            Finding::Nothing
        }
        Kind::Word(word) if joined && is(PURE, word) => Finding::Nothing,
        Kind::Word(word) if is(" FOUND_ROWS ROW_COUNT ", word) => Finding::Before,
        Kind::Name(_) | Kind::Word(_) => Finding::Call,
        Kind::Number | Kind::Text | Kind::Symbol(_) => Finding::Nothing,
    }
}
