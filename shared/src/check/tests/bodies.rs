//! Strict JSON, runs and previews.

use super::*;
use crate::Error;
use crate::check::{finish, id, json, optional_json, run, schedule, schema};

fn malformed(bytes: &[u8]) -> String {
    match json(bytes) {
        Err(Error::Malformed(detail)) => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_json_is_malformed_with_line_and_column() {
    assert!(malformed(b"{\n \"a\": 1,}").contains("line 2 column 9"));
    assert!(malformed(b"{} {}").contains("line 1 column 4"));
    assert!(malformed(b"  ").contains("empty"));
    assert!(malformed(b"").contains("empty"));
    assert!(malformed(b"{\"a\": 1e400}").contains("number out of range"));
    assert!(malformed(b"{\"a\": \"\xff\"}").contains("line 1"));
    assert!(malformed(br#"{"a": "\ud800"}"#).contains("line 1"));
    assert!(malformed(format!("{}1{}", "[".repeat(65), "]".repeat(65)).as_bytes()).contains("deeper than 64"));
    assert!(malformed("[".repeat(500_000).as_bytes()).contains("deeper than 64"));
}

#[test]
fn a_body_that_is_no_object_is_a_fault_of_the_whole() {
    for bytes in [&b"[]"[..], b"null", b"\"a\"", b"1"] {
        match json(bytes) {
            Err(Error::Invalid(faults)) => assert_eq!(lines(faults), [" type"]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn keys_that_are_there_twice_are_reported_beside_other_faults() {
    let body = json(br#"{"parameters": {"a": 1, "b": {}, "a": 2}, "parameters": null, "x": "\u0000"}"#).unwrap();
    let (input, faults) = run::create(&body);
    assert!(input.is_none());
    assert_eq!(
        lines(faults),
        ["/parameters duplicate", "/parameters/a duplicate", "/parameters/b type", "/x characters", "/x unknown_field"]
    );
}

#[test]
fn a_number_that_is_not_kept_as_it_is_written_is_a_fault_that_does_not_show_it() {
    let of = |number: &str| {
        let text = format!(r#"{{"parameters": {{"a": "\\\"0.5", "b": -2, "n": {number}, "c": 0.10, "d": 1e2}}}}"#);
        run::create(&json(text.as_bytes()).unwrap()).1
    };
    for kept in ["0.1", "-2.50e3", "18446744073709551615", "-9223372036854775808", "0.30000000000000004"] {
        assert_eq!(of(kept), [], "{kept}");
    }
    for rounded in ["12345678901234567.89", "9007199254740993.0", "18446744073709551616", "1e-400"] {
        let faults = of(rounded);
        assert!(faults[0].detail.contains("string") && !faults[0].detail.contains(rounded), "{faults:?}");
        assert_eq!(lines(faults), ["/parameters/n precision"], "{rounded}");
    }
    let default = br#"{"name": "s", "fields": [{"name": "a", "dataType": "decimal", "scale": 2, "defaultValue": 12345678901234567.89}]}"#;
    assert_eq!(lines(schema::create(&json(default).unwrap()).1), ["/fields/0/defaultValue precision"]);
}

#[test]
fn pointers_escape_tildes_and_slashes() {
    let body = json(br#"{"a/b~c": {"d": 1, "d": 2}}"#).unwrap();
    assert_eq!(lines(run::create(&body).1), ["/a~1b~0c unknown_field", "/a~1b~0c/d duplicate"]);
}

#[test]
fn a_trigger_needs_no_body() {
    let (input, faults) = run::create(&optional_json(b"").unwrap());
    assert_eq!((input.unwrap().parameters, faults), (None, vec![]));
    let (input, _) = run::create(&optional_json(br#"{"parameters": {"day": "2026-01-01", "n": 1.5}}"#).unwrap());
    assert_eq!(input.unwrap().parameters.unwrap().len(), 2);
}

#[test]
fn parameters_have_64_kilobytes_at_most() {
    let sized = |bytes: usize| body(json!({"parameters": {"p": "x".repeat(bytes - r#"{"p":""}"#.len())}}));
    assert_eq!(lines(run::create(&sized(64 * 1024)).1), Vec::<String>::new());
    let faults = run::create(&sized(64 * 1024 + 1)).1;
    assert!(faults[0].detail.contains("65537") && faults[0].detail.contains("65536"), "{faults:?}");
    assert_eq!(lines(faults), ["/parameters length"]);
    assert_eq!(lines(crate::check::trial::validate(&sized(64 * 1024 + 1)).1), ["/parameters length"]);
}

#[test]
fn parameters_are_values_with_plain_names() {
    let (_, faults) = run::create(&body(json!({"parameters": {"ok": null, "a b": 1, "list": [1]}})));
    assert_eq!(lines(faults), ["/parameters/a b pattern", "/parameters/list type"]);
    let many: serde_json::Map<String, Value> = (0..201).map(|n| (format!("p{n}"), json!(n))).collect();
    assert_eq!(lines(run::create(&body(json!({"parameters": many}))).1), ["/parameters length"]);
}

#[test]
fn a_preview_wants_a_schedule_a_timezone_and_a_count_in_bounds() {
    let (input, faults) =
        schedule::preview(&body(json!({"schedule": "@daily", "timezone": "Europe/Berlin", "count": 3})));
    assert_eq!((input.unwrap().count, faults), (Some(3), vec![]));
    let (_, faults) =
        schedule::preview(&body(json!({"schedule": "0 0 31 2 *", "timezone": "Mars/Base", "count": 101})));
    assert_eq!(lines(faults), ["/count range", "/schedule format", "/timezone format"]);
    let (_, faults) = schedule::preview(&body(json!({"shedule": "@daily", "count": 1.0})));
    let details: Vec<&str> = faults.iter().map(|f| f.detail.as_str()).collect();
    assert!(details.contains(&"unknown field \"shedule\"; did you mean \"schedule\"?"), "{details:?}");
    assert_eq!(lines(faults), ["/count type", "/schedule required", "/shedule unknown_field"]);
}

#[test]
fn an_id_in_the_body_is_required_where_the_path_has_none() {
    assert_eq!(id(&body(json!({"id": "pipe_1"}))).unwrap(), "pipe_1");
    assert_eq!(id(&body(json!({}))).unwrap_err().code, "required");
    assert_eq!(id(&body(json!({"id": 1}))).unwrap_err().code, "type");
}

#[test]
fn an_answer_lists_a_thousand_faults_and_says_how_many_more() {
    let faults: Vec<Fault> = (0..1500).map(|n| Fault::new(format!("/a/{n}"), "x", "y")).collect();
    match finish(Some(()), faults) {
        Err(Error::Invalid(faults)) => {
            assert_eq!(faults.len(), 1001);
            assert_eq!(faults[10].pointer, "/a/10");
            assert!(faults[1000].detail.contains("500 more"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(finish(Some(1), vec![]).unwrap(), 1);
    assert!(finish(None::<()>, vec![]).is_err());
}

#[test]
fn a_huge_unknown_field_costs_little_and_is_cut_in_the_detail() {
    let name = "x".repeat(500_000);
    let (_, faults) = run::create(&body(json!({ name: 1 })));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].detail.len() < 200);
}
