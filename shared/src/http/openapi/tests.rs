//! The document is complete and agrees with the routes, the roles and the problems.

mod views;

use super::*;
use crate::error::{Error, Fault};
use crate::http::problem;
use crate::roles::{Access, Role, allowed};
use std::collections::{BTreeMap, BTreeSet};

/// Every operation with its route.
fn operations(document: &Value) -> Vec<(&'static str, &'static str, Action, Value)> {
    ROUTES
        .iter()
        .map(|&(method, path, action)| {
            let operation = &document["paths"][path][method.to_ascii_lowercase()];
            assert!(operation.is_object(), "{method} {path} is not documented");
            (method, path, action, operation.clone())
        })
        .collect()
}

/// The references in `value`, without their `#`.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.insert(reference.strip_prefix('#').expect("a reference into the document").to_owned());
            }
            object.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// What a reference stands for, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a component"),
        None => value,
    }
}

fn validator(document: &Value, schema: &Value) -> jsonschema::Validator {
    let whole = json!({"allOf": [schema], "components": document["components"]});
    jsonschema::draft202012::new(&whole).expect("a schema")
}

#[test]
fn every_route_is_documented_and_nothing_else() {
    let document = document();
    for (method, path, _, operation) in operations(&document) {
        for field in ["operationId", "summary", "description"] {
            assert!(operation[field].as_str().is_some_and(|text| !text.trim().is_empty()), "{method} {path}: {field}");
        }
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses.keys().filter(|status| status.starts_with('2')).count(), 1, "{method} {path}");
    }
    let documented: usize = document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert_eq!(documented, ROUTES.len());
}

#[test]
fn an_operation_is_named_after_its_action_and_no_two_alike() {
    let mut seen = BTreeSet::new();
    for (method, path, action, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        let rest = id.strip_prefix(action.name()).unwrap_or_else(|| panic!("{method} {path}: {id}"));
        assert!(["", "_by_body", "_by_query"].contains(&rest), "{id}");
        assert!(seen.insert(id.clone()), "{id} is there twice");
    }
}

#[test]
fn every_tag_of_an_operation_is_described() {
    let document = document();
    let names = |value: &Value| value.as_array().unwrap().iter().map(|t| t["name"].clone()).collect::<Vec<_>>();
    let described = names(&document["tags"]);
    let used: Vec<Value> = operations(&document).into_iter().map(|(.., o)| o["tags"][0].clone()).collect();
    assert!(used.iter().all(|tag| described.contains(tag)));
    assert!(described.iter().all(|tag| used.contains(tag)));
}

#[test]
fn every_reference_resolves_and_every_component_is_used() {
    let document = document();
    let mut open: Vec<&Value> = vec![&document["paths"]];
    let mut used = BTreeSet::new();
    while let Some(value) = open.pop() {
        let mut found = BTreeSet::new();
        references(value, &mut found);
        for reference in found {
            let meant = document.pointer(&reference).unwrap_or_else(|| panic!("{reference} meets nothing"));
            if used.insert(reference) {
                open.push(meant);
            }
        }
    }
    for (section, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| section != "securitySchemes") {
            assert!(used.contains(&format!("/components/{section}/{name}")), "{section}/{name} is not used");
        }
    }
}

#[test]
fn the_parts_of_a_path_are_its_parameters() {
    let document = document();
    for (method, path, _, operation) in operations(&document) {
        let braces: Vec<&str> = path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')).collect();
        let none = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&none);
        let parameters: Vec<&Value> = parameters.iter().map(|p| resolved(&document, p)).collect();
        let named: Vec<&str> =
            parameters.iter().filter(|p| p["in"] == "path").filter_map(|p| p["name"].as_str()).collect();
        assert_eq!(named, braces, "{method} {path}");
        let keys: BTreeSet<String> = parameters.iter().map(|p| format!("{} {}", p["in"], p["name"])).collect();
        assert_eq!(keys.len(), parameters.len(), "{method} {path} has a parameter twice");
    }
}

#[test]
fn the_text_on_roles_agrees_with_the_roles() {
    for (.., action, operation) in operations(&document()) {
        let text = operation["description"].as_str().unwrap();
        let sentence = text.lines().last().unwrap();
        let named: Option<Vec<&str>> =
            sentence.strip_prefix("Roles: ").and_then(|s| s.strip_suffix('.')).map(|s| s.split(", ").collect());
        let may: Vec<&str> = Role::ALL.into_iter().filter(|r| allowed(Some(*r), action)).map(Role::name).collect();
        match action.access() {
            Access::AtLeast(_) => assert_eq!(named, Some(may), "{action:?}"),
            Access::Authenticated => {
                assert!(allowed(None, action) && sentence.contains("no known role"), "{action:?}");
            }
            Access::Public => assert_eq!(sentence, "No token is needed.", "{action:?}"),
        }
        let is_public = action.access() == Access::Public;
        assert_eq!(operation["security"] == json!([]), is_public, "{action:?}");
        assert_eq!(operation["responses"]["401"].is_null(), is_public, "{action:?}");
    }
}

#[test]
fn what_is_changed_can_be_guarded_and_what_is_made_can_be_repeated() {
    let document = document();
    for (method, path, _, operation) in operations(&document) {
        let has = |name: &str| {
            operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|p| resolved(&document, p)["name"] == name))
        };
        let responses = &operation["responses"];
        assert_eq!(has("If-Match"), matches!(method, "PUT" | "DELETE"), "{method} {path}");
        assert_eq!(has("If-Match"), !responses["412"].is_null(), "{method} {path}");
        assert_eq!(has("Idempotency-Key"), !responses["201"].is_null(), "{method} {path}");
        assert_eq!(has("Idempotency-Key"), !responses["422"].is_null(), "{method} {path}");
        assert_eq!(!responses["201"].is_null(), !responses["201"]["headers"]["Location"].is_null(), "{method} {path}");
        assert_eq!(!operation["requestBody"].is_null(), !responses["415"].is_null(), "{method} {path}");
    }
}

/// One error of each kind that handlers answer.
fn errors() -> Vec<Error> {
    let text = || "why".to_owned();
    vec![
        Error::Invalid(vec![Fault::new("/name", "required", "this field is required")]),
        Error::Malformed(text()),
        Error::Unauthenticated(text()),
        Error::Forbidden(text()),
        Error::not_found("pipeline", "pipe_1"),
        Error::conflict("BUSY", text()),
        Error::PreconditionFailed(text()),
        Error::TooLarge(text()),
        Error::UnsupportedMediaType(text()),
        Error::IdempotencyMismatch(text()),
        Error::Throttled,
        Error::internal("why"),
        Error::Unavailable { what: "the store", source: "why".into() },
        Error::TimedOut(text()),
    ]
}

#[test]
fn the_problems_are_those_that_errors_become() {
    let document = document();
    let is_problem = validator(&document, &json!({"$ref": "#/components/schemas/Problem"}));
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (.., operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolved(&document, response);
            if response["content"]["application/problem+json"].is_object() {
                documented.entry(status.clone()).or_default().insert(response.to_string());
            }
        }
    }
    let mut answered = BTreeSet::new();
    for error in errors() {
        let response = problem::response(&error, "request-1");
        let (status, body) =
            (response.status.as_str().to_owned(), serde_json::from_slice::<Value>(&response.body).unwrap());
        assert!(is_problem.is_valid(&body), "{body}");
        let texts = documented.get(&status).unwrap_or_else(|| panic!("no route has {status}"));
        let code = body["code"].as_str().unwrap();
        assert!(texts.iter().any(|t| t.contains(&format!("`{code}`"))), "{status} does not tell of {code}");
        for header in ["WWW-Authenticate", "Retry-After"] {
            let told = texts.iter().all(|t| t.contains(&format!("{header:?}")));
            assert_eq!(response.headers.contains_key(header), told, "{status} {header}");
        }
        answered.insert(status);
    }
    assert_eq!(documented.into_keys().collect::<BTreeSet<_>>(), answered);
}

#[test]
fn every_example_fits_its_schema() {
    let document = document();
    let mut seen = 0;
    for (method, path, _, operation) in operations(&document) {
        let media = &operation["requestBody"]["content"]["application/json"];
        if media.is_null() {
            continue;
        }
        let faults: Vec<String> =
            validator(&document, &media["schema"]).iter_errors(&media["example"]).map(|e| e.to_string()).collect();
        assert_eq!(faults, Vec::<String>::new(), "{method} {path}");
        seen += 1;
    }
    assert!(seen > 8);
}

#[test]
fn a_change_named_by_its_body_needs_the_id_in_it() {
    let document = document();
    let schema =
        |path: &str| document["paths"][path]["put"]["requestBody"]["content"]["application/json"]["schema"].clone();
    let body = json!({"enabled": false});
    assert!(!validator(&document, &schema("/api/v1/pipelines")).is_valid(&body));
    assert!(validator(&document, &schema("/api/v1/pipelines/{id}")).is_valid(&body));
}

#[test]
fn the_csv_of_rejected_rows_is_told_with_its_link() {
    let answer = &document()["paths"]["/api/v1/pipelines/{id}/runs/{runId}/errors"]["get"]["responses"]["200"];
    assert!(answer["content"]["text/csv"].is_object() && answer["headers"]["Link"].is_object());
}
