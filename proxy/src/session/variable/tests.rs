use super::*;

fn names(variables: &Variables) -> Vec<&str> {
    variables
        .system()
        .chain(variables.user())
        .map(|variable| variable.name.as_str())
        .collect()
}

fn literal(text: &str) -> Value {
    Value::Literal(text.to_owned())
}

#[test]
fn a_change_is_stale_until_the_server_has_told() {
    let mut variables = Variables::default();
    assert!(variables.is_empty() && !variables.is_stale());
    let changed = variables.change(&Assigned::of(
        b"SET sql_mode = '', autocommit = 0, @b = 1, @a = 2",
    ));
    let expected = Versions {
        hot_sys_var: 1,
        sys_var: 1,
        user_var: 1,
        ..Versions::default()
    };
    assert_eq!(changed, expected);
    assert_eq!(names(&variables), ["sql_mode", "autocommit", "b", "a"]);
    assert_eq!(variables.stale(3, false).len(), 3);
    for (kind, name) in variables.stale(9, false) {
        assert_eq!(variables.get(kind, &name).unwrap().value, Value::Unread);
        variables.read(kind, &name, literal("1"));
    }
    assert!(!variables.is_stale());
    assert_eq!(variables.get(Kind::User, "B").unwrap().value, literal("1"));
    variables.change(&Assigned::of(b"SET @B = 3"));
    assert_eq!(names(&variables), ["sql_mode", "autocommit", "b", "a"]);
    assert_eq!(variables.stale(9, false), [(Kind::User, "b".to_owned())]);
}

#[test]
fn what_fails_leaves_no_trace_but_doubt() {
    let mut variables = Variables::default();
    variables.fail(&Assigned::of(b"SET @a = 1, sql_mode = 'x'"));
    assert!(variables.is_empty() && !variables.is_stale());
    variables.change(&Assigned::of(b"SET @a = 1"));
    variables.read(Kind::User, "a", literal("1"));
    variables.fail(&Assigned::of(b"SELECT @a := id FROM t"));
    assert_eq!(variables.stale(9, false), [(Kind::User, "a".to_owned())]);
    variables.read(Kind::User, "a", literal("2"));
    variables.change(&Assigned::of(b"CALL p()"));
    assert_eq!((variables.unclear, variables.is_stale()), (1, false));
    assert_eq!(variables.stale(9, true), [(Kind::User, "a".to_owned())]);
}

#[test]
fn what_the_server_does_not_know_goes_and_its_place_is_used_again() {
    let mut variables = Variables::default();
    variables.change(&Assigned::of(b"SET a = 1, b = 2, c = 3"));
    variables.not_read(Kind::System, "b", true);
    variables.change(&Assigned::of(b"SET b = 2, d = 4"));
    assert_eq!(names(&variables), ["a", "d", "c"]);
    variables.not_read(Kind::System, "a", false);
    assert_eq!(variables.stale(9, false).len(), 2);
    assert_eq!(variables.stale(9, true).len(), 3);
}

#[test]
fn number_and_size_are_bounded() {
    let mut variables = Variables::default();
    for number in 0..NAMES_MAX + 5 {
        variables.change(&Assigned::of(format!("SET @v{number} = 1").as_bytes()));
    }
    assert_eq!(
        (variables.user().count(), variables.not_kept),
        (NAMES_MAX, 5)
    );
    for number in 0..5 {
        variables.read(
            Kind::User,
            &format!("v{number}"),
            literal(&"x".repeat(16_000)),
        );
    }
    assert_eq!(variables.get(Kind::User, "v4").unwrap().value, Value::Long);
    assert_ne!(variables.get(Kind::User, "v3").unwrap().value, Value::Long);
}

#[test]
fn classes_are_odps() {
    for (name, class) in [
        ("autocommit", Class::Hot),
        ("ob_query_timeout", Class::Hot),
        ("last_insert_id", Class::LastInsertId),
        ("sql_mode", Class::Cold),
    ] {
        assert_eq!(Class::of_system(name), class);
    }
}
