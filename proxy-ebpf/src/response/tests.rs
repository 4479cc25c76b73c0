//! Every kind of response, byte by byte and in any cut.

use proptest::prelude::*;

use super::*;

/// Packets with their headers, sequence ids from 1.
fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (sequence, payload) in (1_u8..).zip(payloads) {
        bytes.extend(&u32::try_from(payload.len()).unwrap().to_le_bytes()[..3]);
        bytes.push(sequence);
        bytes.extend(*payload);
    }
    bytes
}

const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const OK_MORE: &[u8] = b"\0\0\0\x0a\0\0\0";
const OK_LONG: &[u8] =
    b"\0\xfc\x10\x27\xfd\x01\x02\x03\x03\0\0\0Rows matched: 10000  Changed: 10000  Warnings: 0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";
const EOF_MORE: &[u8] = b"\xfe\0\0\x0a\0";
const EOF_CURSOR: &[u8] = b"\xfe\0\0\x42\0";
const OK_EOF: &[u8] = b"\xfe\0\0\x03\0\0\0";
const ERR: &[u8] = b"\xff\x28\x04#42000You have an error";
const PROGRESS: &[u8] = b"\xff\xff\xff\x01\x01\x02\0\0\0\x05stage";
const DEFINITION: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x03\0\0\0\0\0";

struct Case {
    name: &'static str,
    expect: Expect,
    format: u8,
    payloads: Vec<&'static [u8]>,
    outcome: Outcome,
    status: u16,
}

fn case(
    name: &'static str,
    expect: Expect,
    format: u8,
    payloads: &[&'static [u8]],
    outcome: Outcome,
    status: u16,
) -> Case {
    Case {
        name,
        expect,
        format,
        payloads: payloads.to_vec(),
        outcome,
        status,
    }
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn cases() -> Vec<Case> {
    use Expect::{Generic, Prepare, Rows, Single};
    let (plain, new, cache) = (0, format::DEPRECATE_EOF, format::CACHE_METADATA);
    let (ok, error, unknown) = (Outcome::Ok, Outcome::Error, Outcome::Unknown);
    let prepared: &[u8] = b"\0\x07\0\0\0\x01\0\x02\0\0\0\0";
    let unparametrised: &[u8] = b"\0\x07\0\0\0\0\0\0\0\0\0\0";
    vec![
        case("OK", Generic, plain, &[OK], ok, 2),
        case("OK with long integers", Generic, plain, &[OK_LONG], ok, 3),
        case("ERR", Generic, plain, &[ERR], error, 0),
        case(
            "progress reports",
            Generic,
            plain,
            &[PROGRESS, PROGRESS, OK],
            ok,
            2,
        ),
        case(
            "result set",
            Generic,
            plain,
            &[
                b"\x02",
                DEFINITION,
                DEFINITION,
                EOF,
                b"\x011\xfb",
                b"\xfb\x012",
                EOF,
            ],
            ok,
            2,
        ),
        case(
            "no rows",
            Generic,
            plain,
            &[b"\x01", DEFINITION, EOF, EOF],
            ok,
            2,
        ),
        case(
            "result set without EOF",
            Generic,
            new,
            &[b"\x01", DEFINITION, b"\x011", b"\0\0", OK_EOF],
            ok,
            3,
        ),
        case(
            "ERR among the rows",
            Generic,
            plain,
            &[b"\x01", DEFINITION, EOF, b"\x011", ERR],
            error,
            2,
        ),
        case(
            "ERR among the definitions",
            Generic,
            plain,
            &[b"\x02", DEFINITION, ERR],
            error,
            0,
        ),
        case(
            "two results",
            Generic,
            plain,
            &[b"\x01", DEFINITION, EOF, b"\x011", EOF_MORE, OK],
            ok,
            2,
        ),
        case(
            "three results",
            Generic,
            plain,
            &[OK_MORE, b"\x01", DEFINITION, EOF_MORE, EOF_MORE, ERR],
            error,
            10,
        ),
        case(
            "cursor",
            Generic,
            plain,
            &[b"\x01", DEFINITION, EOF_CURSOR],
            ok,
            0x42,
        ),
        case(
            "cached metadata",
            Generic,
            cache,
            &[b"\x01\0", EOF, b"\x011", EOF],
            ok,
            2,
        ),
        case(
            "metadata, cacheable",
            Generic,
            cache,
            &[b"\x01\x01", DEFINITION, EOF, b"\x011", EOF],
            ok,
            2,
        ),
        case(
            "cached metadata, no EOF",
            Generic,
            cache | new,
            &[b"\x01\0", b"\x011", OK_EOF],
            ok,
            3,
        ),
        case("EOF alone", Generic, plain, &[EOF], ok, 2),
        case(
            "PREPARE",
            Prepare,
            plain,
            &[prepared, DEFINITION, DEFINITION, EOF, DEFINITION, EOF],
            ok,
            2,
        ),
        case(
            "PREPARE without EOF",
            Prepare,
            new,
            &[prepared, DEFINITION, DEFINITION, DEFINITION],
            ok,
            0,
        ),
        case(
            "PREPARE without definitions",
            Prepare,
            plain,
            &[unparametrised],
            ok,
            0,
        ),
        case("PREPARE refused", Prepare, plain, &[ERR], error, 0),
        case(
            "FETCH",
            Rows,
            plain,
            &[b"\0\0\x01", b"\0\0\x02", EOF],
            ok,
            2,
        ),
        case(
            "FETCH of an unknown statement",
            Rows,
            plain,
            &[ERR],
            error,
            0,
        ),
        case(
            "STATISTICS",
            Single,
            plain,
            &[b"Uptime: 3  Threads: 1"],
            unknown,
            0,
        ),
    ]
}

fn begun(case: &Case) -> Response {
    let mut response = Response::DONE;
    response.begin(case.expect as u8, case.format);
    response
}

#[test]
fn every_response_ends_at_its_last_byte() {
    for case in cases() {
        let mut bytes = packets(&case.payloads);
        let length = bytes.len();
        bytes.extend(b"\x05\0\0\0what follows");
        let mut response = begun(&case);
        let before = response;
        assert_eq!(response.feed(&bytes), length, "{}", case.name);
        assert!(response.is_done(), "{}", case.name);
        let packets = response.packets_since(&before) as usize;
        assert_eq!(packets, case.payloads.len(), "{}", case.name);
        assert_eq!(
            (response.outcome(), response.status().flags),
            (case.outcome, case.status),
            "{}",
            case.name
        );
    }
}

#[test]
fn no_response_ends_before_its_last_byte() {
    for case in cases() {
        let bytes = packets(&case.payloads);
        let mut response = begun(&case);
        let before = response;
        for (at, byte) in bytes.iter().enumerate() {
            assert!(
                !response.is_done(),
                "{} is over after {at} of {} bytes",
                case.name,
                bytes.len()
            );
            assert_eq!(response.feed(&[*byte]), 1, "{} at {at}", case.name);
        }
        let counted = response.packets_since(&before) as usize;
        assert_eq!(counted, case.payloads.len(), "{}", case.name);
        assert!(response.is_done(), "{}", case.name);
        assert_eq!(
            (response.outcome(), response.status().flags),
            (case.outcome, case.status),
            "{}",
            case.name
        );
    }
}

#[test]
fn a_command_without_a_response_is_done_at_once() {
    let mut response = Response::DONE;
    response.begin(Expect::of(0x19) as u8, 0);
    assert!(response.is_done());
    assert_eq!(response.feed(b"\0"), 0);
}

#[test]
fn local_infile_waits_for_the_client() {
    let request = packets(&[b"\xfb/tmp/data.csv"]);
    let mut response = Response::DONE;
    response.begin(Expect::Generic as u8, 0);
    assert_eq!(response.feed(&request[..6]), 6);
    assert!(!response.wants_infile());
    assert_eq!(response.feed(&request[6..]), request.len() - 6);
    assert!(response.wants_infile() && !response.is_done());
    response.infile_sent();
    response.feed(&packets(&[OK]));
    assert!(response.is_done());
}

#[test]
fn packets_of_the_greatest_length_are_continued() {
    for tail in [0, 1, 5] {
        let mut bytes = packets(&[b"\x01", DEFINITION, EOF]);
        bytes.extend(b"\xff\xff\xff\x04");
        bytes.extend(vec![0xfe; 0x00ff_ffff]);
        bytes.extend([tail, 0, 0, 5]);
        // The continuation may look like an EOF or an ERR.
        bytes.extend(vec![0xff; tail as usize]);
        bytes.extend(packets(&[EOF]));
        let mut response = Response::DONE;
        response.begin(Expect::Generic as u8, 0);
        assert_eq!(response.feed(&bytes), bytes.len());
        assert!(response.is_done());
    }
}

#[test]
fn the_statement_id_of_prepare_is_kept() {
    let mut response = Response::DONE;
    response.begin(Expect::Prepare as u8, 0);
    response.feed(&packets(&[b"\0\x01\x02\x03\x04\0\0\0\0\0\0\0"]));
    assert_eq!(response.statement_id(), 0x0403_0201);
}

/// An OK packet with these integers.
fn ok_with(header: u8, rows: &[u8], id: &[u8], status: u8) -> Vec<u8> {
    [&[header][..], rows, id, &[status, 0, 0, 0], b"info"].concat()
}

#[test]
fn rows_and_insert_id_are_read_at_every_length() {
    let integers: [(&[u8], u64); 6] = [
        (&[0], 0),
        (&[250], 250),
        (&[0xfc, 0xfb, 0x00], 251),
        (&[0xfd, 0x01, 0x02, 0x03], 0x03_0201),
        (&[0xfe, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201),
        (&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255], u64::MAX),
    ];
    for (rows, wanted_rows) in integers {
        for (id, wanted_id) in integers {
            let bytes = packets(&[&ok_with(0, rows, id, 2)]);
            let mut response = Response::DONE;
            response.begin(Expect::Generic as u8, 0);
            assert_eq!(response.feed(&bytes), bytes.len());
            let found = (response.affected_rows(), response.last_insert_id());
            assert_eq!(found, (wanted_rows, wanted_id));
            assert_eq!((response.is_done(), response.status().flags), (true, 2));
            response.begin(Expect::Generic as u8, 0);
            assert_eq!(
                (response.affected_rows(), response.last_insert_id()),
                (0, 0)
            );
        }
    }
}

#[test]
fn the_insert_id_outlives_results_without_one() {
    let rows: &[u8] = b"\0\0\x05\0\0\0\0\0\0\0";
    for (format, end) in [(0, EOF), (format::DEPRECATE_EOF, OK_EOF)] {
        let mut bytes = packets(&[&ok_with(0, &[3], &[0xfc, 7, 1], 0x0a), b"\x01", DEFINITION]);
        if format == 0 {
            bytes.extend(packets(&[EOF]));
        }
        // A binary row, which begins as an OK does and is none.
        bytes.extend(packets(&[rows, end]));
        let mut response = Response::DONE;
        response.begin(Expect::Generic as u8, format);
        assert_eq!(response.feed(&bytes), bytes.len());
        assert!(response.is_done());
        assert_eq!(response.last_insert_id(), 0x107);
        let rows_changed = if format == 0 { 3 } else { 0 };
        assert_eq!(response.affected_rows(), rows_changed);
    }
    for other in [ERR, EOF] {
        let mut response = Response::DONE;
        response.begin(Expect::Generic as u8, 0);
        response.feed(&packets(&[other]));
        assert_eq!(
            (response.affected_rows(), response.last_insert_id()),
            (0, 0)
        );
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(which in 0..cases().len(), cuts in prop::collection::vec(1_usize..40, 1..60)) {
        let case = &cases()[which];
        let bytes = packets(&case.payloads);
        let mut whole = begun(case);
        whole.feed(&bytes);
        let mut response = begun(case);
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            prop_assert_eq!(response.feed(piece), piece.len());
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(response.is_done());
        prop_assert_eq!(response.status(), whole.status());
    }

    #[test]
    fn any_bytes_are_survived(expect in 0_u8..5, format in 0_u8..4, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut response = Response::DONE;
        response.begin(expect, format);
        prop_assert!(response.feed(&bytes) <= bytes.len());
    }
}

/// The status behind these responses, the first of which begins where `before` is known.
fn behind(before: Status, responses: &[(Expect, &[&[u8]])]) -> Status {
    let mut response = Response::DONE;
    response.resume(before.to_word());
    for (expect, payloads) in responses {
        response.begin(*expect as u8, 0);
        let bytes = packets(payloads);
        assert_eq!(response.feed(&bytes), bytes.len());
        assert!(response.is_done());
    }
    response.status()
}

#[test]
fn an_error_leaves_open_what_it_may_have_changed() {
    use Expect::{Generic, Single};
    const AUTOCOMMIT: Status = Status::of(Status::AUTOCOMMIT);
    const OPEN: Status = Status::of(Status::AUTOCOMMIT | Status::IN_TRANSACTION);
    const OFF: Status = Status::of(0);
    let error: (Expect, &[&[u8]]) = (Generic, &[ERR]);
    let ok: (Expect, &[&[u8]]) = (Generic, &[OK]);
    let statistics: (Expect, &[&[u8]]) = (Single, &[b"Uptime: 1"]);
    for (before, responses, wanted) in [
        (AUTOCOMMIT, vec![error], Some(false)),
        (AUTOCOMMIT, vec![error, error, statistics], Some(false)),
        (OPEN, vec![error], None),
        (OFF, vec![error], None),
        (OFF, vec![statistics], Some(false)),
        // What has no flags tells nothing.
        (OFF, vec![error, statistics], None),
        (OFF, vec![error, error], None),
        (OFF, vec![error, ok], Some(false)),
        (OFF, vec![(Generic, &[OK_MORE, ERR])], Some(false)),
        (
            AUTOCOMMIT,
            vec![(Generic, &[b"\0\0\0\x08\0\0\0", ERR])],
            None,
        ),
        (
            AUTOCOMMIT,
            vec![(Generic, &[b"\0\0\0\x0b\0\0\0", ERR]), statistics],
            None,
        ),
        (AUTOCOMMIT, vec![(Generic, &[PROGRESS, OK])], Some(false)),
    ] {
        let status = behind(before, &responses);
        assert_eq!(status.in_transaction(), wanted, "{before:?} {responses:?}");
        assert_eq!(status.may_be_in_transaction(), wanted != Some(false));
        assert!(status.autocommit().is_some());
    }
}

#[test]
fn what_is_known_goes_through_a_word() {
    for flags in [0, 0x0002, 0xffff] {
        for doubt in [Doubt::None, Doubt::Transaction, Doubt::All] {
            let status = Status { flags, doubt };
            assert_eq!(behind(status, &[]), status);
        }
    }
    let unknown = Status {
        flags: 0x000a,
        doubt: Doubt::All,
    };
    assert_eq!(
        (unknown.in_transaction(), unknown.autocommit()),
        (None, None)
    );
    // Of a batch's result, "more results" is nothing for another answer.
    assert_eq!(unknown.lasting_flags(), 0x0003);
    assert_eq!(Status::of(0x400a).lasting_flags(), 0x0002);
}
