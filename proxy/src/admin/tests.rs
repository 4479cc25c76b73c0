use super::fixture::{ask, daemon, login, manual, table};
use super::*;
use crate::session::{ConnectionId, CsId, Session};
use proptest::prelude::*;
use sluice_ebpf::automaton::{self, TextVerdict};
use sluice_ebpf::classify::classify_text;

#[test]
fn kill_gives_orders() {
    let kill = |cs_id, own| {
        Answer::Orders(vec![Order::Kill {
            cs_id: CsId(cs_id),
            own,
            running: None,
        }])
    };
    let sessions = manual();
    for (caller, text, expected) in [
        (5, "KILL 5", kill(5, true)),
        (5, "kill connection 5;", kill(5, true)),
        (5, "KILL 2147549189", kill(5, true)),
        (5, "KILL 524297", kill(524_297, false)),
        (1_048_577, "KILL PROXYSESSION 5", kill(5, false)),
        (
            1_048_577,
            "KILL PROXYSESSION 1048577",
            kill(1_048_577, true),
        ),
        (
            5,
            "KILL 1048577",
            AdminError::unknown_thread(1_048_577).into(),
        ),
        (5, "KILL -5", AdminError::unknown_thread(-5).into()),
        (5, "KILL PROXYSESSION 5", AdminError::bad_command().into()),
        (5, "KILL QUERY 5", Answer::OK),
    ] {
        assert_eq!(ask(&sessions, caller, text), expected, "{text} by {caller}");
    }
    let caller = Caller {
        cs_id: CsId(5),
        login: &sessions[1].login,
        has_tenant: true,
        privileges: None,
    };
    let answer = Statement::kill(5).answer(&Snapshot {
        sessions: &sessions,
        caller,
        daemon: daemon(),
    });
    assert_eq!(answer, kill(5, true));
    assert_eq!(
        sessions[1].servers[0].connection_id,
        ConnectionId(2_147_549_189)
    );
}

#[test]
fn proxyhelp_lists_every_statement() {
    let help = table(ask(&[], 1, "SHOW PROXYHELP"));
    assert_eq!(help.lines().count(), 1 + specs().count());
    assert!(help.contains(
        "\nKILL CONNECTION id | yes | any user | The same as KILL id. | KILL CONNECTION 262145\n"
    ));
    assert!(help.contains("\nSHOW PROXYVIP [name] | refused | "));
    let one = table(ask(&[], 1, "SHOW PROXYHELP LIKE '%GLOBAL%'"));
    assert_eq!(one.lines().count(), 7);
}

#[test]
fn every_example_is_its_own_statement() {
    for spec in specs() {
        let statement = parse(spec.example.as_bytes())
            .expect(spec.example)
            .expect(spec.example);
        assert_eq!(statement.spec().grammar, spec.grammar);
        assert!(
            spec.help.ends_with('.') && spec.grammar.starts_with(&spec.words.join(" ")),
            "{spec:?}"
        );
    }
}

#[test]
fn odp_md_tells_of_every_statement() {
    let page = include_str!("../../../ODP.md");
    for spec in specs() {
        let words = spec.words.join(" ");
        assert!(page.contains(&format!("`{words}")), "ODP.md lacks {words}");
    }
}

/// Whether the kernel would hand a text up to the daemon.
fn traps(text: &str) -> bool {
    matches!(
        classify_text(automaton::START, text.as_bytes()),
        TextVerdict::Trap(_)
    )
}

#[test]
fn every_example_traps() {
    for spec in specs() {
        for text in [
            spec.example.to_owned(),
            spec.example.to_lowercase(),
            format!("{};", spec.example),
        ] {
            assert!(traps(&text), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn any_tail_is_read_to_an_end(at in 0..specs().count(), tail in "[ 0-9a-zA-Z'\"`\\\\;()*/#-]{0,40}") {
        let words = specs().nth(at).unwrap().words.join(" ");
        // Whatever follows, it is one of ours, refused, or the node's; the answer to it has rows, orders or an error.
        if let Some(Ok(statement)) = parse(format!("{words} {tail}").as_bytes()) {
            let login = login("root@sys#east");
            let caller = Caller { cs_id: CsId(1), login: &login, has_tenant: true, privileges: None };
            statement.answer(&Snapshot { sessions: &[], caller, daemon: daemon() });
        }
    }

    #[test]
    fn whatever_is_a_statement_traps(
        at in 0..specs().count(),
        blanks in prop::collection::vec("[ \t\n]|/\\*[^*!M/+]?\\*/|# x\n|-- x\n", 4),
        tail in "\\( ?\\)( AS [a-z`']{1,5})?;?|[ 0-9a-zA-Z'\"`\\\\;()*/#-]{0,20}",
        lower in any::<bool>(),
    ) {
        let words = specs().nth(at).unwrap().words;
        let head = blanks.iter().zip(words).flat_map(|(blank, word)| [blank.as_str(), word]);
        let text: String = head.chain([tail.as_str()]).collect();
        let text = if lower { text.to_lowercase() } else { text };
        prop_assert!(parse(text.as_bytes()).is_none() || traps(&text), "{}", text);
    }
}

#[test]
fn of_all_sessions_the_named_one_is_enough() {
    let sessions = manual();
    let named: Vec<_> = specs().filter(|spec| spec.scope == Scope::Named).collect();
    assert!(!named.is_empty());
    for spec in named {
        let words = spec.words.join(" ");
        for caller in &sessions {
            for id in ["", " -1", " 5", " 2147549189", " 524297", " 7", " -5"] {
                let Some(Ok(statement)) = parse(format!("{words}{id}").as_bytes()) else {
                    continue;
                };
                let answer = |sessions: &[Session]| {
                    let caller = Caller {
                        cs_id: caller.cs_id,
                        login: &caller.login,
                        has_tenant: true,
                        privileges: None,
                    };
                    let daemon = daemon();
                    statement.answer(&Snapshot {
                        sessions,
                        caller,
                        daemon,
                    })
                };
                let own = i64::from(caller.cs_id.0);
                let id = statement.session_id().unwrap_or(own);
                let mut asked_for = sessions.clone();
                asked_for.retain(|session| session.may_be_meant_by(id));
                assert_eq!(answer(&asked_for), answer(&sessions), "{words} {id}");
            }
        }
    }
}
