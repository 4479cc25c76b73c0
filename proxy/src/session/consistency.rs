//! How new what a session reads must be, as far as it says so itself.

use super::variable::{Kind, Value, Variables};

/// `OceanBase`'s variable for it.
const VARIABLE: &str = "ob_read_consistency";

/// How new what is read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consistency {
    /// The newest: no replica is asked.
    Strong,
    /// A replica's state will do.
    Weak,
}

impl Consistency {
    /// The words that users know it by.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Weak => "weak",
        }
    }

    /// The meaning of such a word.
    pub fn of_text(text: &str) -> Option<Self> {
        let mut all = [Self::Strong, Self::Weak].into_iter();
        all.find(|consistency| text.eq_ignore_ascii_case(consistency.text()))
    }

    /// What the session has told an `OceanBase` node.
    pub fn of_variables(variables: &Variables) -> Option<Self> {
        match &variables.get(Kind::System, VARIABLE)?.value {
            Value::Literal(text) if text.to_ascii_uppercase().contains("STRONG") => {
                Some(Self::Strong)
            }
            _ => Some(Self::Weak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::assigned::Assigned;

    #[test]
    fn a_session_says_it_by_a_word_or_a_variable() {
        assert_eq!(Consistency::of_text("Strong"), Some(Consistency::Strong));
        assert_eq!(Consistency::of_text("weak"), Some(Consistency::Weak));
        assert_eq!(Consistency::of_text("frozen"), None);
        let mut variables = Variables::default();
        assert_eq!(Consistency::of_variables(&variables), None);
        variables.change(&Assigned {
            system: vec![VARIABLE.to_owned()],
            ..Assigned::default()
        });
        for (value, wanted) in [
            ("'STRONG'", Consistency::Strong),
            ("'WEAK'", Consistency::Weak),
            ("'FROZEN'", Consistency::Weak),
        ] {
            variables.read(Kind::System, VARIABLE, Value::Literal(value.to_owned()));
            assert_eq!(Consistency::of_variables(&variables), Some(wanted));
        }
    }
}
