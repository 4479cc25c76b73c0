//! Where the text of a statement gives a password, for who shows texts to others.

use super::{Token, Tokens};

/// How much of a text can be shown: all of it, or what stands before the first password that a statement of it sets. Knows those that servers
/// and Sluice have for that; what an application keeps in tables is a text like any other.
pub fn shown(text: &[u8]) -> &[u8] {
    let mut tokens = Tokens::new(text);
    let mut sets_one = sets_password(tokens.clone());
    loop {
        let before = tokens.rest.len();
        let left = match tokens.next() {
            None => return text,
            Some(Token::Word(word)) if sets_one && announces(word) => tokens.rest.len(),
            Some(Token::Unclear) if sets_one => before,
            Some(Token::Symbol(b';')) => {
                sets_one = sets_password(tokens.clone());
                continue;
            }
            Some(_) => continue,
        };
        return text
            .get(..text.len().saturating_sub(left))
            .unwrap_or_default();
    }
}

/// Whether a statement that begins so may set a password.
fn sets_password(mut tokens: Tokens<'_>) -> bool {
    if tokens.accept_word("SET") {
        return tokens.accept_word("PASSWORD");
    }
    if tokens.accept_word("CREATE") || tokens.accept_word("ALTER") {
        let _or_replace = tokens.accept_word("OR") && tokens.accept_word("REPLACE");
        return ["USER", "SERVER", "PROXYCONFIG"]
            .iter()
            .any(|word| tokens.accept_word(word));
    }
    tokens.accept_word("GRANT") || tokens.accept_word("CHANGE")
}

/// Whether a password may follow this word: `IDENTIFIED`, `PASSWORD`, `MASTER_PASSWORD`.
fn announces(word: &[u8]) -> bool {
    let end = word.len().saturating_sub(b"PASSWORD".len());
    word.eq_ignore_ascii_case(b"IDENTIFIED")
        || word
            .get(end..)
            .is_some_and(|end| end.eq_ignore_ascii_case(b"PASSWORD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (text, front) in [
            ("set password = password('geheim')", "set password"),
            ("SET PASSWORD FOR a@b = 'geheim'", "SET PASSWORD"),
            (
                "CREATE USER IF NOT EXISTS 'a'@'%' IDENTIFIED BY 'geheim'",
                "CREATE USER IF NOT EXISTS 'a'@'%' IDENTIFIED",
            ),
            (
                "/* x */ create or replace user a identified via p as 'geheim'",
                "/* x */ create or replace user a identified",
            ),
            (
                "GRANT ALL ON *.* TO a IDENTIFIED BY 'geheim'",
                "GRANT ALL ON *.* TO a IDENTIFIED",
            ),
            (
                "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD='geheim'",
                "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD",
            ),
            (
                "SELECT 1; ALTER USER a IDENTIFIED BY 'geheim'",
                "SELECT 1; ALTER USER a IDENTIFIED",
            ),
            (
                "ALTER PROXYCONFIG SET admin.password = 'geheim'",
                "ALTER PROXYCONFIG SET admin.password",
            ),
            (
                "alter proxyconfig set admin_password=geheim",
                "alter proxyconfig set admin_password",
            ),
            // What cannot be read may hide it.
            ("CREATE USER 'a''b' IDENTIFIED BY 'geheim'", "CREATE USER"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(shown(text.as_bytes())),
                front,
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_shown() {
        for text in [
            "",
            "SELECT PASSWORD('x')",
            "CREATE TABLE user (password TEXT)",
            "ALTER TABLE t ADD password TEXT",
            "UPDATE t SET password = 'x'",
            "SET @password = 'x'",
            "SET PASSWORD",
            "GRANT SELECT ON a.* TO b",
            "ALTER PROXYCONFIG SET admin.password_file = '/run/secret'",
            "SELECT 'a''b'",
        ] {
            assert_eq!(shown(text.as_bytes()), text.as_bytes());
        }
    }
}
