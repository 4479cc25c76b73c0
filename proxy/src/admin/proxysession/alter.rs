//! `ALTER PROXYSESSION SET`: what a session asks of the proxy for itself.

use super::super::{AdminError, Answer, Arguments, Order, Scope, Snapshot, Spec, Who, parse};
use crate::{
    config::Patience,
    session::{Consistency, own_writes::Wanted},
};

/// How long reads wait at a replica for what the session has written.
const WAIT_FOR_MY_WRITES: &str = "wait_for_my_writes";
/// How new what is read must be.
const READ_CONSISTENCY: &str = "read_consistency";
/// The value that takes back what the session has said.
const DEFAULT: &str = "default";

pub(super) const SPEC: Spec = Spec {
    words: &["ALTER", "PROXYSESSION", "SET"],
    grammar: "ALTER PROXYSESSION SET wait_for_my_writes = time | off | default, read_consistency = strong | weak | default",
    help: "Says one thing of one's reads, until the session ends or is reset: how long they wait at a replica for one's own writes, or that they go to no replica.",
    who: Who::Anyone,
    scope: Scope::Own,
    example: "ALTER PROXYSESSION SET wait_for_my_writes = '1s'",
    parse: parse::assignment,
    answer,
};

fn answer(arguments: &Arguments, _: &Snapshot<'_>) -> Answer {
    let Some((key, value)) = &arguments.assignment else {
        return AdminError::bad_command().into();
    };
    let order = match &**key {
        WAIT_FOR_MY_WRITES => wanted(value).map(Order::WaitForMyWrites),
        READ_CONSISTENCY => consistency(value).map(Order::ReadConsistency),
        _ => return AdminError::unknown_key(key).into(),
    };
    match order {
        Ok(order) => Answer::Orders(vec![order]),
        Err(why) => AdminError::bad_value(&format!("{key} = {why}")).into(),
    }
}

fn consistency(text: &str) -> Result<Option<Consistency>, String> {
    if text.eq_ignore_ascii_case(DEFAULT) {
        return Ok(None);
    }
    Consistency::of_text(text)
        .map(Some)
        .ok_or_else(|| format!("\"{text}\" is none of strong, weak, default"))
}

/// A time, or a word.
fn wanted(text: &str) -> Result<Wanted, String> {
    if text.eq_ignore_ascii_case(DEFAULT) {
        Ok(Wanted::AsCluster)
    } else if text.eq_ignore_ascii_case("off") {
        Ok(Wanted::No)
    } else {
        let time: Patience = text.parse()?;
        Ok(Wanted::Within(time.get()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::fixture::{ask, manual};

    #[test]
    fn a_session_says_how_long_its_reads_wait() {
        for (value, wanted) in [
            ("'1s'", Wanted::Within(Duration::from_secs(1))),
            ("500ms", Wanted::Within(Duration::from_millis(500))),
            ("0s", Wanted::Within(Duration::ZERO)),
            ("OFF", Wanted::No),
            ("default", Wanted::AsCluster),
        ] {
            let text = format!("alter proxysession set wait_for_my_writes = {value};");
            let order = Order::WaitForMyWrites(wanted);
            // Whoever it is: it is his own session.
            assert_eq!(ask(&manual(), 5, &text), Answer::Orders(vec![order]));
        }
        let code = |text: &str| match ask(&manual(), 5, text) {
            Answer::Error(error) => error.code,
            other => panic!("{other:?}"),
        };
        for (value, wanted) in [
            ("strong", Some(Consistency::Strong)),
            ("'WEAK'", Some(Consistency::Weak)),
            ("default", None),
        ] {
            let text = format!("ALTER PROXYSESSION SET read_consistency = {value}");
            let order = Order::ReadConsistency(wanted);
            assert_eq!(ask(&manual(), 5, &text), Answer::Orders(vec![order]));
        }
        assert_eq!(
            code("ALTER PROXYSESSION SET read_consistency = frozen"),
            1231
        );
        assert_eq!(
            code("ALTER PROXYSESSION SET wait_for_my_writes = soon"),
            1231
        );
        assert_eq!(code("ALTER PROXYSESSION SET nothing = 1"), 1193);
    }
}
