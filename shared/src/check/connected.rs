//! What only the types of connectors tell about the nodes that name them.

use super::{nodes, pointer, slips};
use crate::Fault;
use crate::models::connector::{Connector, ConnectorType};
use crate::models::node::{FileFormat, NodeType, SourceConfig, TargetConfig, TransformConfig, TransformOp};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The faults of nodes (none in the place of one that cannot be read) against the connectors that they name; `own` is the
/// pipeline's, which sources read that name none. A connector that is not there is a fault of its own.
pub fn check<'a>(
    nodes: impl IntoIterator<Item = Option<(NodeType, &'a Map<String, Value>)>>,
    own: &str,
    connectors: &HashMap<String, Connector>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut none = true;
    for (index, node) in nodes.into_iter().enumerate() {
        none = false;
        let Some((kind, config)) = node else { continue };
        let at = pointer::push(&pointer::at("/nodes", index), "config");
        let config = &Value::Object(config.clone());
        match kind {
            NodeType::Source => slips::judge_whole(config, &mut faults, |config: &SourceConfig, faults| {
                if let Some(connector) = connectors.get(config.connector_id.as_deref().unwrap_or(own)) {
                    source(config, connector, &at, faults);
                }
            }),
            NodeType::Transform => slips::judge::<TransformConfig>(config, &mut faults, |config, faults| {
                for (op, lookup) in nodes::each::<TransformOp>(config, "ops") {
                    lookup_of(&lookup, connectors, &pointer::at(&pointer::push(&at, "ops"), op), faults);
                }
            }),
            NodeType::Target => slips::judge_whole(config, &mut faults, |config: &TargetConfig, faults| {
                if let Some(connector) = config.connector_id.as_ref().and_then(|id| connectors.get(id)) {
                    target(connector, &at, faults);
                }
            }),
            _ => {}
        }
    }
    if let Some(connector) = connectors.get(own).filter(|c| none && lacks_table(c)) {
        let detail = format!(
            "the connector {:?} names neither a table nor a query, so a pipeline without nodes has nothing to read",
            connector.name
        );
        faults.push(Fault::new("/connectorId", "required", detail));
    }
    faults
}

fn lacks_table(connector: &Connector) -> bool {
    let names = |key: &str| connector.config.0.get(key).is_some_and(|value| !value.is_null());
    connector.r#type.has_tables() && !names("table") && !names("query")
}

/// The fields of a source that are not for a connector of this type, and why.
pub fn foreign(config: &SourceConfig, kind: ConnectorType) -> (Vec<&'static str>, &'static str) {
    let (has_tables, is_api) = (kind.has_tables(), kind == ConnectorType::RestApi);
    let other_than_json = config.format.is_some_and(|format| format != FileFormat::Json);
    let fields = [
        ("path", has_tables && config.path.is_some()),
        ("format", has_tables && config.format.is_some() || is_api && other_than_json),
        ("options", has_tables && config.options.is_some()),
        ("table", !has_tables && config.table.is_some()),
        ("query", !has_tables && config.query.is_some()),
    ];
    let why = match kind {
        _ if has_tables => "which is a database; name a table or a query",
        ConnectorType::RestApi => "which is an API and answers json",
        _ => "which has files",
    };
    (fields.into_iter().filter(|(_, foreign)| *foreign).map(|(field, _)| field).collect(), why)
}

fn source(config: &SourceConfig, connector: &Connector, at: &str, faults: &mut Vec<Fault>) {
    let name = &connector.name;
    let (fields, why) = foreign(config, connector.r#type);
    for field in fields {
        let detail = format!("{field} is not for the connector {name:?}, {why}");
        faults.push(Fault::new(pointer::push(at, field), "contradiction", detail));
    }
    if lacks_table(connector) && config.table.is_none() && config.query.is_none() {
        let detail = format!("neither the source nor the connector {name:?} names a table or a query");
        faults.push(Fault::new(pointer::push(at, "table"), "required", detail));
    }
}

fn lookup_of(op: &TransformOp, connectors: &HashMap<String, Connector>, at: &str, faults: &mut Vec<Fault>) {
    let TransformOp::Lookup { connector_id, table, path, .. } = op else { return };
    if let Some(connector) = connectors.get(connector_id) {
        let config = SourceConfig { table: table.clone(), path: path.clone(), ..SourceConfig::default() };
        source(&config, connector, at, faults);
    }
}

fn target(connector: &Connector, at: &str, faults: &mut Vec<Fault>) {
    if !connector.r#type.has_tables() {
        let detail = format!(
            "the connector {:?} cannot be written: a target's connector is a database (postgresql, mysql); without one the lake is \
             written",
            connector.name
        );
        faults.push(Fault::new(pointer::push(at, "connectorId"), "contradiction", detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::connector::{AuthMethod, ConnectorStatus};
    use crate::models::time::{JsonText, Time};
    use serde_json::json;

    fn connector(id: &str, r#type: ConnectorType, config: Value) -> (String, Connector) {
        let now = Time(chrono::DateTime::UNIX_EPOCH);
        let connector = Connector {
            id: id.to_owned(),
            tenant_id: "t".to_owned(),
            name: id.to_owned(),
            r#type,
            description: None,
            config: JsonText(serde_json::from_value(config).unwrap()),
            auth_method: AuthMethod::None,
            secret: None,
            version: 1,
            users: 0,
            status: ConnectorStatus::Untested,
            last_tested_at: None,
            last_error: None,
            created_at: now,
            updated_at: now,
        };
        (id.to_owned(), connector)
    }

    fn found(own: &str, nodes: &[(NodeType, Value)]) -> Vec<String> {
        let connectors = HashMap::from([
            connector("files", ConnectorType::LocalFs, json!({"path": "a.csv"})),
            connector("shop", ConnectorType::Postgresql, json!({"host": "h", "database": "d"})),
            connector("sales", ConnectorType::Mysql, json!({"host": "h", "database": "d", "table": "t"})),
            connector("api", ConnectorType::RestApi, json!({"url": "https://example.com"})),
        ]);
        let nodes: Vec<(NodeType, Map<String, Value>)> =
            nodes.iter().map(|(kind, config)| (*kind, config.as_object().unwrap().clone())).collect();
        let faults = check(nodes.iter().map(|(kind, config)| Some((*kind, config))), own, &connectors);
        faults.iter().map(|f| format!("{} {}", f.pointer, f.code)).collect()
    }

    #[test]
    fn what_a_node_names_must_go_with_its_connector() {
        let source = |config| (NodeType::Source, config);
        let target = |config| (NodeType::Target, config);
        assert_eq!(found("files", &[source(json!({"table": "t"}))]), ["/nodes/0/config/table contradiction"]);
        assert_eq!(
            found("shop", &[source(json!({"path": "a", "format": "csv"}))]),
            [
                "/nodes/0/config/path contradiction",
                "/nodes/0/config/format contradiction",
                "/nodes/0/config/table required"
            ]
        );
        assert!(found("shop", &[source(json!({"query": "SELECT 1"}))]).is_empty());
        assert!(found("sales", &[source(json!({}))]).is_empty());
        assert!(found("api", &[source(json!({"path": "v1", "format": "json", "options": {}}))]).is_empty());
        assert_eq!(
            found("api", &[source(json!({"format": "csv", "query": "SELECT 1"}))]),
            ["/nodes/0/config/format contradiction", "/nodes/0/config/query contradiction"]
        );
        let lookup = json!({"ops": [{"op": "lookup", "connectorId": "sales", "path": "a.csv",
            "on": [{"left": "a", "right": "a"}], "select": ["b"]}]});
        let ops = json!({"ops": [{"op": "csat"}, lookup["ops"][0]], "foo": 1});
        for (lookup, op) in [(lookup, 0), (ops, 1)] {
            let path = format!("/nodes/0/config/ops/{op}/path contradiction");
            assert_eq!(found("files", &[(NodeType::Transform, lookup)]), [path]);
        }
        assert_eq!(found("files", &[source(json!({"table": "t", "foo": 1}))]), ["/nodes/0/config/table contradiction"]);
        assert!(found("files", &[source(json!({"table": "t", "conectorId": "sales"}))]).is_empty());
        assert_eq!(found("shop", &[]), ["/connectorId required"]);
        assert!(found("sales", &[]).is_empty() && found("files", &[]).is_empty());
        assert_eq!(
            found("files", &[source(json!({})), target(json!({"connectorId": "files"}))]),
            ["/nodes/1/config/connectorId contradiction"]
        );
        assert!(
            found("files", &[source(json!({})), target(json!({"connectorId": "shop", "loadMode": "upsert"}))])
                .is_empty()
        );
        assert!(found("elsewhere", &[source(json!({"table": "t"}))]).is_empty());
    }
}
