//! template.yaml as the tests read it: resources, functions and what they may do.

#![allow(dead_code, reason = "each test binary uses its part of this module")]

use serde_yaml_ng::{Mapping, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A template without its tags: `!Ref Table` becomes `Table`, since only names matter here.
pub fn template(path: &str) -> Value {
    fn untag(value: Value) -> Value {
        match value {
            Value::Tagged(tagged) => untag(tagged.value),
            Value::Sequence(items) => items.into_iter().map(untag).collect(),
            Value::Mapping(map) => map.into_iter().map(|(k, v)| (k, untag(v))).collect::<Mapping>().into(),
            other => other,
        }
    }
    untag(serde_yaml_ng::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}")))
}

/// A function of template.yaml.
pub struct Function {
    pub resource: String,
    /// The folder below functions/ that it is built from.
    pub folder: String,
    pub binary: String,
    pub metadata: Value,
    pub properties: Value,
    /// What it may do: its own policies, or those of the role that it names and what is attached to that.
    pub policies: Value,
}

pub fn functions() -> Vec<Function> {
    let template = template("template.yaml");
    let mut found = vec![];
    for (name, resource) in entries(&template["Resources"]) {
        let dockerfile = resource["Metadata"]["Dockerfile"].as_str();
        let source =
            resource["Properties"]["CodeUri"].as_str().or(dockerfile.and_then(|d| d.strip_suffix("/Dockerfile")));
        let is_function = resource["Type"] == "AWS::Serverless::Function";
        let Some(source) = source else {
            assert!(!is_function, "{name} does not say what it is built from");
            continue;
        };
        let role = resource["Properties"]["Role"].as_str().and_then(|role| role.strip_suffix(".Arn"));
        let holder = role.map_or(resource, |role| &template["Resources"][role]);
        let mut policies = match is_function {
            true => holder["Properties"]["Policies"].clone(),
            false => self::template("infra/worker.yaml")["Resources"]["TaskRole"]["Properties"]["Policies"].clone(),
        };
        let role = if is_function { role.map(str::to_owned) } else { Some(format!("{name}.Outputs.TaskRoleName")) };
        if let (Some(role), Some(own)) = (role, policies.as_sequence_mut()) {
            own.extend(attached(&template, &role));
        }
        let metadata = resource["Metadata"].clone();
        let binary = metadata["BuildProperties"]["Binary"].as_str().or(metadata["Binary"].as_str());
        found.push(Function {
            resource: name.clone(),
            folder: source
                .strip_prefix("functions/")
                .unwrap_or_else(|| panic!("{name} is built from {source}"))
                .to_owned(),
            binary: binary.unwrap_or_else(|| panic!("{name} does not name its binary")).to_owned(),
            metadata,
            properties: if is_function { resource["Properties"].clone() } else { Value::Null },
            policies,
        });
    }
    assert!(found.len() > 30, "only {} functions were found", found.len());
    found
}

/// What is attached to a role, by the name that `template` has for it.
fn attached(template: &Value, role: &str) -> Vec<Value> {
    let resources = entries(&template["Resources"]).into_iter().map(|(_, resource)| resource);
    let policies = resources.filter(|resource| resource["Type"] == "AWS::IAM::ManagedPolicy");
    let properties = policies.map(|policy| &policy["Properties"]);
    properties.filter(|of| texts(&of["Roles"]).iter().any(|name| name == role)).cloned().collect()
}

/// The functions that Lambda runs, which leaves the worker's service out.
pub fn lambdas() -> Vec<Function> {
    functions().into_iter().filter(|f| !f.properties.is_null()).collect()
}

pub fn entries(value: &Value) -> Vec<(String, &Value)> {
    let map = value.as_mapping().into_iter().flatten();
    map.map(|(k, v)| (k.as_str().expect("names are text").to_owned(), v)).collect()
}

pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Sequence(items) => items.iter().flat_map(texts).collect(),
        _ => vec![],
    }
}

/// `(allowed actions, resources)` of each statement.
pub fn statements(policies: &Value) -> Vec<(Vec<String>, Vec<String>)> {
    let documents = policies.as_sequence().into_iter().flatten();
    let documents = documents.map(|p| if p["PolicyDocument"].is_null() { p } else { &p["PolicyDocument"] });
    documents
        .flat_map(|d| d["Statement"].as_sequence().cloned().unwrap_or_default())
        .map(|s| (texts(&s["Action"]), texts(&s["Resource"])))
        .collect()
}

pub fn actions(function: &Function) -> BTreeSet<String> {
    statements(&function.policies).into_iter().flat_map(|(actions, _)| actions).collect()
}
