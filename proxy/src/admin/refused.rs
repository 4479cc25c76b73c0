//! ODP's statements that have no meaning here. Each is refused by name, with the reason and what to do instead: an empty result would be
//! a lie.

use super::parse::Mismatch;
use super::{AdminError, Answer, Arguments, Scope, Spec, Who};
use crate::sql::Tokens;

/// A statement that is refused whatever follows its words: words, grammar, reason, example.
macro_rules! refused {
    ($([$($word:literal),+], $grammar:literal, $reason:literal, $example:literal;)+) => {
        pub(super) const STATEMENTS: &[Spec] = &[EXPLAIN_ROUTE, $(Spec {
            words: &[$($word),+],
            grammar: $grammar,
            help: $reason,
            who: Who::Operator,
            scope: Scope::Own,
            example: $example,
            parse: |_| Ok(Arguments::default()),
            answer: |_, _| refuse(&[$($word),+], $reason),
        }),+];
    };
}

refused! {
    ["SHOW", "PROXYROUTE"], "SHOW PROXYROUTE …",
        "Sluice has no routing cache: a statement goes to its session's node, or where the session's reads go; SHOW PROXYSESSION ATTRIBUTE names both.", "SHOW PROXYROUTE LIKE 't'";
    ["SHOW", "PROXYVIP"], "SHOW PROXYVIP [name]",
        "Sluice has no virtual addresses; a login names its tenant and cluster, and SHOW PROXYCONFIG their defaults.", "SHOW PROXYVIP";
    ["SHOW", "PROXYMEMORY"], "SHOW PROXYMEMORY [OBJPOOL] [n]",
        "Sluice has no memory pools of its own; ask the system (ps, /proc/PID/smaps) with the pid of SHOW PROXYINFO BINARY.", "SHOW PROXYMEMORY";
    ["SHOW", "PROXYSM"], "SHOW PROXYSM [id]",
        "Sluice has no state machines to dump; SHOW PROXYSESSION ATTRIBUTE says all of a session.", "SHOW PROXYSM";
    ["SHOW", "PROXYTRACE"], "SHOW PROXYTRACE [id]",
        "Sluice keeps no trace of attempts; retried_commands in SHOW PROXYSTAT counts them, SHOW PROXYSESSION ATTRIBUTE says where a session's bytes move.", "SHOW PROXYTRACE";
    ["SHOW", "SQLAUDIT"], "SHOW SQLAUDIT …",
        "Sluice does not see spliced statements, so it has no record of them; the node's own statement log has one.", "SHOW SQLAUDIT LIMIT 10";
    ["SHOW", "WARNLOG"], "SHOW WARNLOG …",
        "Sluice keeps no log in memory; its log goes to standard error (journalctl, docker logs).", "SHOW WARNLOG";
    ["SHOW", "GLOBALSESSION"], "SHOW GLOBALSESSION …",
        "Sluice has no pool of server sessions that clients share; SHOW PROXYSESSION SERVER lists those that there are.", "SHOW GLOBALSESSION";
    ["KILL", "GLOBALSESSION"], "KILL GLOBALSESSION dbkey [ss_id]",
        "Sluice has no pool of server sessions that clients share; KILL PROXYSESSION ends a client's.", "KILL GLOBALSESSION k 1";
    ["SHOW", "PROXYRESOURCE"], "SHOW PROXYRESOURCE [LIKE 'pattern']",
        "Sluice keeps no resources of clusters that could be stale; SHOW PROXYCLUSTER lists the clusters, SHOW PROXYCONGESTION their nodes.", "SHOW PROXYRESOURCE";
    ["ALTER", "PROXYRESOURCE"], "ALTER PROXYRESOURCE DELETE cluster",
        "Sluice keeps no resources of clusters; clusters are those of the configuration file.", "ALTER PROXYRESOURCE DELETE east";
    ["SHOW", "PROXYCLUSTER", "IDC"], "SHOW PROXYCLUSTER IDC [LIKE 'pattern']",
        "Sluice lists no data centres: the zones of its nodes stand in the configuration file, its own in SHOW PROXYCONFIG.", "SHOW PROXYCLUSTER IDC";
    ["SHOW", "PROXYINFO", "UPGRADE"], "SHOW PROXYINFO UPGRADE",
        "Sluice does not upgrade itself; the version that runs is in SHOW PROXYINFO BINARY.", "SHOW PROXYINFO UPGRADE";
    ["SHOW", "PROXYINFO", "IDC"], "SHOW PROXYINFO IDC",
        "Sluice lists no data centres: the zones of its nodes stand in the configuration file, its own in SHOW PROXYCONFIG.", "SHOW PROXYINFO IDC";
    ["SHOW", "PROXYSESSION", "READ_STALE"], "SHOW PROXYSESSION READ_STALE [LIKE 'pattern']",
        "Sluice keeps no list of stale replicas; SHOW PROXYCONGESTION ALL says how far each is behind.", "SHOW PROXYSESSION READ_STALE";
}

/// Anyone may ask ODP for it.
const EXPLAIN_ROUTE: Spec = Spec {
    words: &["EXPLAIN", "ROUTE"],
    grammar: "EXPLAIN ROUTE statement",
    help: "A statement goes to the session's own node, or where reads go; SHOW PROXYSESSION ATTRIBUTE names both.",
    who: Who::Anyone,
    scope: Scope::Own,
    example: "EXPLAIN ROUTE SELECT 1",
    parse: parse_explain,
    answer: |_, _| refuse(EXPLAIN_ROUTE.words, EXPLAIN_ROUTE.help),
};

/// `EXPLAIN route` describes a table of that name, and a column's name may follow it; no column is called like these words without quotes.
fn parse_explain(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];
    if verbs.iter().any(|verb| tokens.accept_word(verb)) {
        return Ok(Arguments::default());
    }
    Err(Mismatch::NotOurs)
}

/// Whether this statement is one of these.
pub(super) fn has(spec: &Spec) -> bool {
    STATEMENTS.iter().any(|refused| refused.words == spec.words)
}

fn refuse(words: &[&str], reason: &str) -> Answer {
    AdminError::refused(&words.join(" "), reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{
        Order,
        fixture::{ask, manual},
        parse,
    };

    #[test]
    fn each_is_refused_by_name_with_a_reason() {
        for spec in STATEMENTS {
            let Answer::Error(error) = ask(&manual(), 1_048_577, spec.example) else {
                panic!("{spec:?}")
            };
            assert_eq!((error.code, &error.sqlstate), (1235, b"42000"));
            let name = spec.words.join(" ");
            assert_eq!(
                error.text,
                format!("{name} is not supported: {}", spec.help)
            );
            let by_others = ask(&manual(), 5, spec.example);
            match spec.who {
                Who::Anyone => assert_eq!(by_others, Answer::Error(error)),
                _ => assert_eq!(by_others, Answer::Orders(vec![Order::Forward])),
            }
        }
    }

    #[test]
    fn a_table_called_route_is_described_by_its_node() {
        for text in [
            "EXPLAIN route",
            "EXPLAIN ROUTE;",
            "explain route id",
            "EXPLAIN ROUTE 'i%'",
            "EXPLAIN `ROUTE` SELECT",
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
