//! `SHOW PROXYHELP`: the list of statements.

use super::{Answer, Arguments, Scope, Snapshot, Spec, Value, Who, parse, refused, specs};
use crate::sql::like::like;

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYHELP"],
    grammar: "SHOW PROXYHELP [LIKE 'pattern']",
    help: "Lists the statements that Sluice answers itself, and those of ODP that it refuses, with the reason. In all of them a value that Sluice does not have is NULL.",
    who: Who::Anyone,
    scope: Scope::Own,
    example: "SHOW PROXYHELP LIKE '%PROXYSESSION%'",
    parse: parse::like,
    answer,
}];

fn answer(arguments: &Arguments, _: &Snapshot<'_>) -> Answer {
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let shown = specs().filter(|spec| like(pattern, spec.grammar.as_bytes()));
    Answer::texts(
        ["statement", "answered", "who", "help", "example"],
        shown.map(|spec| {
            let answered = if refused::has(spec) { "refused" } else { "yes" };
            [
                spec.grammar,
                answered,
                spec.who.text(),
                spec.help,
                spec.example,
            ]
            .map(Value::text)
        }),
    )
}
