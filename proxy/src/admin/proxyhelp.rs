//! `SHOW PROXYHELP`: the list of statements.

use super::{
    Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, parse, specs,
};

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYHELP"],
    grammar: "SHOW PROXYHELP",
    help: "Lists the statements that Sluice answers itself.",
    who: Who::Anyone,
    scope: Scope::Own,
    example: "SHOW PROXYHELP",
    parse: parse::nothing,
    answer,
}];

fn answer(_: &Arguments, _: &Snapshot<'_>) -> Answer {
    let columns = ["statement", "who", "help", "example"];
    Answer::Rows {
        columns: columns
            .map(|name| Column::new(name, ColumnKind::Varchar))
            .to_vec(),
        rows: specs()
            .map(|spec| {
                [spec.grammar, spec.who.text(), spec.help, spec.example]
                    .map(Value::text)
                    .to_vec()
            })
            .collect(),
    }
}
