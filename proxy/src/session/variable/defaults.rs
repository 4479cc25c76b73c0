//! The system variables of a cluster with their defaults, as its nodes list them.

use super::question::quote;

/// One system variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Default {
    /// Its name, in small letters.
    pub name: String,
    /// The server's own value as a literal of SQL: what a new session begins with.
    pub value: String,
    /// Whose it is.
    pub flags: Flags,
}

/// Whose a system variable is, and whether it can be changed. (`invisible` and `nullable` are `OceanBase`'s alone, which its views do not
/// show.)
#[derive(Clone, Copy, PartialEq, Eq, std::default::Default, Debug)]
pub struct Flags {
    /// The server has a value.
    pub is_global: bool,
    /// Each session has a value.
    pub is_session: bool,
    /// Nobody can change it while the server runs.
    pub is_read_only: bool,
}

impl Flags {
    /// The text in `SHOW PROXYSESSION VARIABLES`, with ODP's space in front.
    pub fn text(self) -> String {
        let parts = [
            (self.is_global, " && global_scope"),
            (self.is_session, " && session_scope"),
            (self.is_read_only, " && readonly"),
        ];
        parts
            .into_iter()
            .filter_map(|(has, text)| has.then_some(text))
            .collect()
    }
}

/// How a make of server is asked for its system variables. Each answer has the columns name, value, scope, type and whether it is
/// read-only; types decide what a value's literal is.
pub const QUESTIONS: [&str; 3] = [MARIADB, MYSQL, ANY];

/// `MariaDB`'s page "Information Schema `SYSTEM_VARIABLES` Table".
const MARIADB: &str = "SELECT LOWER(VARIABLE_NAME), COALESCE(GLOBAL_VALUE, SESSION_VALUE), VARIABLE_SCOPE, VARIABLE_TYPE, READ_ONLY \
     FROM information_schema.SYSTEM_VARIABLES ORDER BY VARIABLE_NAME";
/// `MySQL` manual, "The `variables_metadata` Table" (9.0); a variable that only sessions have is not among the global ones.
const MYSQL: &str = "SELECT LOWER(m.VARIABLE_NAME), COALESCE(g.VARIABLE_VALUE, s.VARIABLE_VALUE), m.VARIABLE_SCOPE, m.DATA_TYPE, '' \
     FROM performance_schema.variables_metadata m \
     LEFT JOIN performance_schema.global_variables g ON g.VARIABLE_NAME = m.VARIABLE_NAME \
     LEFT JOIN performance_schema.session_variables s ON s.VARIABLE_NAME = m.VARIABLE_NAME \
     ORDER BY m.VARIABLE_NAME";
/// What every server has. It does not say what belongs to the server alone.
const ANY: &str = "SHOW GLOBAL VARIABLES";

/// Reads an answer to one of [`QUESTIONS`], in its order.
pub fn read(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<Default> {
    rows.iter().filter_map(|row| one(row)).collect()
}

fn one(row: &[Option<Vec<u8>>]) -> Option<Default> {
    let text = |at: usize| {
        row.get(at)
            .and_then(Option::as_deref)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let kind = text(3).map(|kind| kind.to_ascii_uppercase());
    let value = match text(1) {
        Some(value) => literal(value, kind.as_deref()),
        None => "NULL".to_owned(),
    };
    let scope = text(2).map(|scope| scope.to_ascii_uppercase());
    let scope = scope.as_deref().unwrap_or("BOTH");
    Some(Default {
        name: text(0)?.to_ascii_lowercase(),
        value,
        flags: Flags {
            is_global: !matches!(scope, "SESSION ONLY" | "SESSION_ONLY"),
            is_session: scope != "GLOBAL" && scope != "PERSIST_ONLY",
            is_read_only: text(4).is_some_and(|word| word == "YES"),
        },
    })
}

/// A value as `SELECT @@name` would give it; without a type what looks like a number is one.
fn literal(value: String, kind: Option<&str>) -> String {
    let is_number = || value.parse::<f64>().is_ok_and(f64::is_finite);
    match kind {
        Some("BOOLEAN") if value == "ON" => "1".to_owned(),
        Some("BOOLEAN") if value == "OFF" => "0".to_owned(),
        Some(kind) if is_number_type(kind) && is_number() => value,
        None if is_number() => value,
        Some(_) | None => quote(&value),
    }
}

/// `MariaDB`'s and `MySQL`'s words for numbers.
fn is_number_type(kind: &str) -> bool {
    ["INT", "BIGINT", "DOUBLE", "NUMERIC", "BOOLEAN"]
        .iter()
        .any(|word| kind.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cells: &[Option<&str>]) -> String {
        let row = cells
            .iter()
            .map(|cell| cell.map(|text| text.as_bytes().to_vec()))
            .collect();
        let read = read(&[row]);
        let [Default { name, value, flags }] = read.as_slice() else {
            panic!("{read:?}")
        };
        format!("{name} = {value}{}", flags.text())
    }

    #[test]
    fn answers_of_all_makes_are_read() {
        for (cells, expected) in [
            (
                &[
                    Some("autocommit"),
                    Some("ON"),
                    Some("SESSION"),
                    Some("BOOLEAN"),
                    Some("NO"),
                ][..],
                "autocommit = 1 && global_scope && session_scope",
            ),
            (
                &[
                    Some("port"),
                    Some("3306"),
                    Some("GLOBAL"),
                    Some("INT UNSIGNED"),
                    Some("YES"),
                ],
                "port = 3306 && global_scope && readonly",
            ),
            (
                &[
                    Some("timestamp"),
                    Some("1.5"),
                    Some("SESSION ONLY"),
                    Some("DOUBLE"),
                    Some("NO"),
                ],
                "timestamp = 1.5 && session_scope",
            ),
            (
                &[
                    Some("version"),
                    Some("10"),
                    Some("GLOBAL"),
                    Some("VARCHAR"),
                    Some("YES"),
                ],
                "version = '10' && global_scope && readonly",
            ),
            (
                &[
                    Some("Sort_Buffer_Size"),
                    Some("262144"),
                    Some("BOTH"),
                    Some("Integer"),
                    Some(""),
                ],
                "sort_buffer_size = 262144 && global_scope && session_scope",
            ),
            (
                &[Some("ob_query_timeout"), Some("10000000")],
                "ob_query_timeout = 10000000 && global_scope && session_scope",
            ),
            (
                &[Some("sql_mode"), Some("")],
                "sql_mode = '' && global_scope && session_scope",
            ),
            (
                &[Some("x"), None, Some("GLOBAL"), Some("ENUM"), Some("NO")],
                "x = NULL && global_scope",
            ),
        ] {
            assert_eq!(shown(cells), expected);
        }
        assert!(read(&[vec![None], vec![]]).is_empty());
    }
}
