//! Statements of ours that a client prepares: a question mark stands where a number or a text may.

mod table;

use bytes::Bytes;
pub use table::{Command, PAYLOAD_BYTES_MAX, Statements};

use super::{
    AdminError, Caller, Spec, Statement, Who, access,
    parse::{self, Mismatch},
};
use crate::{
    protocol::statement::Parameter,
    sql::{Token, Tokens},
};

/// The most question marks that a statement may have.
const PARAMETERS_MAX: usize = 4;
/// The most digits of a number, as in a statement's text.
const INTEGER_MAX: i64 = 99_999_999_999_999_999;

/// What a question mark stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    Integer,
}

impl Kind {
    /// A value that no grammar takes for a wrong one.
    const fn sample(self) -> Token<'static> {
        match self {
            Self::Text => Token::Quoted {
                quote: b'\'',
                text: b"x",
            },
            Self::Integer => Token::Integer(1),
        }
    }
}

/// A statement with places for its parameters.
#[derive(Clone, Debug)]
pub struct Template {
    spec: &'static Spec,
    text: Bytes,
    kinds: Vec<Kind>,
}

impl Template {
    /// Reads the text of a `COM_STMT_PREPARE`. `None`: it is the node's. Costs no more than the text's first words unless those are a
    /// statement's of ours.
    ///
    /// The error is [`AdminError::bad_command`]: the statement can only be meant for the proxy, but is not well formed.
    pub fn read(text: &[u8]) -> Option<Result<Self, AdminError>> {
        let (spec, rest) = parse::head(Tokens::new(text))?;
        let marks = rest.filter(|token| *token == Token::Symbol(b'?')).count();
        if marks > PARAMETERS_MAX {
            let is_theirs = parse::arguments(text, &[]) == Err(Mismatch::NotOurs);
            return (!is_theirs).then(|| Err(AdminError::bad_command()));
        }
        let mut verdict = None;
        for choice in 0..1_usize << marks {
            let kind = |at: usize| {
                if choice & (1 << at) == 0 {
                    Kind::Text
                } else {
                    Kind::Integer
                }
            };
            let kinds: Vec<_> = (0..marks).map(kind).collect();
            let samples: Vec<_> = kinds.iter().map(|kind| kind.sample()).collect();
            match parse::arguments(text, &samples) {
                Ok(_) => {
                    return Some(Ok(Self {
                        spec,
                        text: Bytes::copy_from_slice(text),
                        kinds,
                    }));
                }
                Err(Mismatch::Malformed) => verdict = Some(Err(AdminError::bad_command())),
                Err(Mismatch::NotOurs) => {}
            }
        }
        verdict
    }

    /// The words that it begins with.
    pub const fn words(&self) -> &'static [&'static str] {
        self.spec.words
    }

    /// How many parameters it takes.
    pub const fn parameters(&self) -> usize {
        self.kinds.len()
    }

    /// Whether it is the node's after all, as the same text is if this caller sends it as a query.
    pub fn goes_to_node(&self, caller: &Caller<'_>) -> bool {
        self.spec.who == Who::Operator && !access::is_operator(caller)
    }

    /// The statement with these values.
    ///
    /// # Errors
    /// [`AdminError::bad_command`] for a value that cannot stand in its place.
    pub fn bind(&self, values: &[Parameter<'_>]) -> Result<Statement, AdminError> {
        let texts: Vec<_> = values.iter().map(decimal).collect();
        let tokens = self
            .kinds
            .iter()
            .zip(values.iter().zip(&texts))
            .map(|(kind, (value, text))| token(*kind, value, text));
        let tokens: Vec<_> = tokens
            .collect::<Option<_>>()
            .ok_or_else(AdminError::bad_command)?;
        let arguments =
            parse::arguments(&self.text, &tokens).map_err(|_mismatch| AdminError::bad_command())?;
        Ok(Statement {
            spec: self.spec,
            arguments,
        })
    }
}

/// A value as a number: drivers send numbers in whatever type suits them, JavaScript's as doubles, PHP's as texts.
fn integer(value: &Parameter<'_>) -> Option<i64> {
    let number = match *value {
        Parameter::Integer(number) => number,
        Parameter::Unsigned(number) => i64::try_from(number).ok()?,
        // Within this range every whole double is an integer, exactly.
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
        Parameter::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => number as i64,
        Parameter::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        Parameter::Double(_) | Parameter::Null | Parameter::Temporal => return None,
    };
    (-INTEGER_MAX..=INTEGER_MAX)
        .contains(&number)
        .then_some(number)
}

/// A number's digits.
fn decimal(value: &Parameter<'_>) -> String {
    integer(value).map_or_else(String::new, |number| number.to_string())
}

/// A value as it would stand in the text; `digits` are its own as a number.
fn token<'a>(kind: Kind, value: &Parameter<'a>, digits: &'a str) -> Option<Token<'a>> {
    let quoted = |text| Some(Token::Quoted { quote: b'\'', text });
    match (kind, *value) {
        (Kind::Integer, _) => integer(value).map(Token::Integer),
        (Kind::Text, Parameter::Text(text)) => quoted(text),
        (Kind::Text, _) if digits.is_empty() => None,
        (Kind::Text, _) => quoted(digits.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture::{ask, daemon, login, manual, table};
    use crate::admin::{Snapshot, specs};
    use crate::session::CsId;
    use proptest::prelude::*;

    fn template(text: &str) -> Template {
        Template::read(text.as_bytes()).expect(text).expect(text)
    }

    fn bound(text: &str, values: &[Parameter<'_>]) -> Result<Statement, u16> {
        let bound = template(text).bind(values);
        bound.map_err(|error| error.code)
    }

    #[test]
    fn what_is_no_statement_as_text_is_none_prepared() {
        for text in [
            "SELECT ?",
            "SELECT 1",
            "SHOW TABLES LIKE ?",
            "KILL",
            "KILL USER ?",
            "? PROXYSESSION",
            "SHOW ?",
            "SELECT PROXY_VERSION() + ?",
            "KILL (?)",
            "",
        ] {
            assert!(Template::read(text.as_bytes()).is_none(), "{text}");
        }
        for text in [
            "SHOW PROXYSESSION ?",
            "SHOW PROXYSESSION ATTRIBUTE ? ?",
            "SHOW PROXYSESSION ATTRIBUTE LIKE ? LIKE ?",
            "SHOW PROXYSESSION ATTRIBUTE LIKE '?' ?",
            "KILL PROXYSESSION ? ? ? ? ?",
            "EXPLAIN ROUTE SELECT ?, ?, ?, ?, ?",
            "SHOW PROXYSESSION; SELECT ?",
        ] {
            let error = Template::read(text.as_bytes())
                .expect(text)
                .expect_err(text);
            assert_eq!(error, AdminError::bad_command(), "{text}");
        }
    }

    #[test]
    fn question_marks_stand_for_numbers_and_texts() {
        for (text, kinds) in [
            ("SHOW PROXYSESSION", &[][..]),
            ("KILL ?", &[Kind::Integer]),
            ("kill connection /* ? */ ?;", &[Kind::Integer]),
            ("SHOW PROXYSESSION ATTRIBUTE ?", &[Kind::Integer]),
            ("SHOW PROXYSESSION ATTRIBUTE LIKE ?", &[Kind::Text]),
            ("SHOW PROXYSESSION ATTRIBUTE LIKE '?'", &[]),
            (
                "SHOW PROXYSESSION ATTRIBUTE ? LIKE ?",
                &[Kind::Integer, Kind::Text],
            ),
        ] {
            assert_eq!(template(text).kinds, kinds, "{text}");
        }
    }

    #[test]
    fn a_bound_statement_is_answered_like_its_text() {
        let sessions = manual();
        let login = login("root@sys#obn");
        let caller = Caller {
            cs_id: CsId(1_048_577),
            login: &login,
            has_tenant: true,
            privileges: None,
        };
        let snapshot = Snapshot {
            sessions: &sessions,
            caller,
            daemon: daemon(),
        };
        let text = "SHOW PROXYSESSION ATTRIBUTE ? LIKE ?";
        let like = Parameter::Text(b"%_id");
        let expected = ask(
            &sessions,
            1_048_577,
            "SHOW PROXYSESSION ATTRIBUTE 5 LIKE '%_id'",
        );
        for id in [
            Parameter::Integer(5),
            Parameter::Unsigned(5),
            Parameter::Double(5.0),
            Parameter::Text(b" 5"),
        ] {
            let statement = bound(text, &[id, like]).unwrap();
            assert_eq!(statement.answer(&snapshot), expected, "{id:?}");
        }
        assert!(table(expected).contains("cs_id | 5 |"));
        // Quotes in a value are part of it, not of the statement.
        let statement = bound(text, &[Parameter::Integer(5), Parameter::Text(b"' OR '")]).unwrap();
        assert_eq!(table(statement.answer(&snapshot)).lines().count(), 1);
        let by_number = bound(
            "SHOW PROXYSESSION ATTRIBUTE LIKE ?",
            &[Parameter::Integer(7)],
        );
        assert_eq!(by_number.unwrap().arguments.like, Some(b"7".to_vec()));
    }

    #[test]
    fn a_value_that_cannot_stand_there_is_refused() {
        for value in [
            Parameter::Null,
            Parameter::Temporal,
            Parameter::Double(0.5),
            Parameter::Double(f64::NAN),
            Parameter::Double(1e300),
            Parameter::Text(b"5; KILL 6"),
            Parameter::Text(b""),
            Parameter::Unsigned(u64::MAX),
            Parameter::Integer(i64::MIN),
        ] {
            assert_eq!(bound("KILL ?", &[value]).err(), Some(5010), "{value:?}");
        }
        assert_eq!(bound("KILL ?", &[]).err(), Some(5010));
    }

    #[test]
    fn every_statement_can_be_prepared() {
        for spec in specs() {
            let template = template(spec.example);
            assert!(template.bind(&[]).is_ok(), "{}", spec.example);
            assert_eq!(template.spec.grammar, spec.grammar);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(
            at in 0..specs().count(),
            tail in "[ 0-9a-z'\"`\\\\;()*/#?-]{0,40}",
            number: i64,
            text in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let words = specs().nth(at).unwrap().words.join(" ");
            if let Some(Ok(template)) = Template::read(format!("{words} {tail}").as_bytes()) {
                let values = [Parameter::Integer(number), Parameter::Text(&text)].repeat(2);
                let _ = template.bind(&values);
                prop_assert!(template.parameters() <= PARAMETERS_MAX);
            }
        }
    }
}
