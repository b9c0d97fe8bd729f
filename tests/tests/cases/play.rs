//! Plays a case on a stack: makes what it needs, runs it, and looks at what came out.

use super::case::{Case, Connector, Expect, Step, fields};
use super::compare::{Edge, Seen, differences};
use super::inputs;
use serde_json::{Map, Value, json};
use shared::roles::Role;
use std::collections::BTreeMap;
use std::path::Path;
use tests::{Api, World};

/// Plays the case in `folder`; answers what is wrong.
pub async fn play(world: &World, folder: &Path) -> Vec<String> {
    let text = match std::fs::read_to_string(folder.join("case.yaml")) {
        Ok(text) => text,
        Err(e) => return vec![format!("case.yaml cannot be read: {e}")],
    };
    let mut case: Case = match serde_yaml_ng::from_str(&text) {
        Ok(case) => case,
        Err(e) => return vec![format!("case.yaml: {e}")],
    };
    let name = super::name(folder);
    let tenant = name.replace('/', "-");
    let play = Play { world, api: world.api(Role::Editor, &tenant), name };
    match play.whole(&mut case, folder).await {
        Ok(faults) => faults,
        Err(fault) => vec![fault],
    }
}

struct Play<'w> {
    world: &'w World,
    api: Api,
    /// `topic/case`: also the folder of its files below the files root.
    name: String,
}

/// Ids by the names of a case.
struct Ids {
    connectors: BTreeMap<String, String>,
    schemas: BTreeMap<String, String>,
}

impl Play<'_> {
    async fn whole(&self, case: &mut Case, folder: &Path) -> Result<Vec<String>, String> {
        let runs = case.runs()?;
        let place = self.world.stack.files_root().join(&self.name);
        inputs::copy(folder, &place);
        inputs::write(&place, &case.files);
        let ids = self.definitions(case).await?;
        let mut body = self.body(case, &ids)?;
        let refused = runs.first().and_then(|run| run.expect.refused.clone());
        let answer = self.api.post("/pipelines", &Value::Object(body.clone())).await;
        if let Some(pointers) = refused {
            let same = answer.status == 400 && answer.pointers() == pointers;
            return Ok(if same { Vec::new() } else { vec![format!("not refused at {pointers:?}: {}", answer.text)] });
        }
        if answer.status != 201 {
            return Err(format!("the pipeline is not saved: {}", answer.text));
        }
        let pipeline = answer.json();
        let mut faults = Vec::new();
        let (mut last, several) = (None, runs.len() > 1);
        for (number, mut run) in runs.into_iter().enumerate() {
            let expect = std::mem::take(&mut run.expect);
            self.before(&run, &place, &mut body, &pipeline, &ids).await?;
            let id = self.start(&run, &pipeline, last.as_deref()).await?;
            let found = self.after(&pipeline, &id, &expect, &ids).await?;
            let which = if several { format!("run {}: ", number + 1) } else { String::new() };
            faults.extend(found.into_iter().map(|fault| format!("{which}{fault}")));
            last = Some(id);
        }
        Ok(faults)
    }

    /// Makes the connectors and the schemas.
    async fn definitions(&self, case: &Case) -> Result<Ids, String> {
        let mut ids = Ids { connectors: BTreeMap::new(), schemas: BTreeMap::new() };
        let own = Connector { r#type: None, config: Map::from_iter([("path".to_owned(), json!(""))]) };
        let default = (!case.connectors.contains_key("in")).then_some(("in", &own));
        for (name, connector) in case.connectors.iter().map(|(n, c)| (n.as_str(), c)).chain(default) {
            let mut config = connector.config.clone();
            let path = config.get("path").and_then(Value::as_str).unwrap_or("");
            let path = format!("{}/{path}", self.name);
            config.insert("path".to_owned(), json!(path.trim_end_matches('/')));
            let kind = connector.r#type.as_deref().unwrap_or("local_fs");
            let body = json!({"name": name, "type": kind, "config": config});
            ids.connectors.insert(name.to_owned(), self.made("/connectors", &body).await?);
        }
        for (name, schema) in &case.schemas {
            let body = json!({"name": name, "fields": fields(schema)?});
            ids.schemas.insert(name.clone(), self.made("/schemas", &body).await?);
        }
        Ok(ids)
    }

    async fn made(&self, path: &str, body: &Value) -> Result<String, String> {
        let answer = self.api.post(path, body).await;
        match (answer.status.as_u16(), answer.json()["id"].as_str()) {
            (201, Some(id)) => Ok(id.to_owned()),
            _ => Err(format!("POST {path} {body}: {}", answer.text)),
        }
    }

    /// The pipeline's body, with ids in the place of names.
    fn body(&self, case: &Case, ids: &Ids) -> Result<Map<String, Value>, String> {
        let mut body = case.pipeline.clone();
        if let Some((nodes, edges)) = case.graph()? {
            body.insert("nodes".to_owned(), nodes);
            body.insert("edges".to_owned(), edges);
        }
        for (key, default, ids) in [("connectorId", "in", &ids.connectors), ("schemaId", "out", &ids.schemas)] {
            let name = body.get(key).and_then(Value::as_str).unwrap_or(default);
            let id = ids.get(name).ok_or_else(|| format!("there is no {key} {name:?}"))?;
            body.insert(key.to_owned(), json!(id));
        }
        body.entry("name").or_insert_with(|| json!(self.name));
        for value in body.values_mut() {
            name_to_id(value, &ids.connectors);
        }
        Ok(body)
    }

    /// What is changed before a run.
    async fn before(
        &self,
        run: &Step,
        place: &Path,
        body: &mut Map<String, Value>,
        pipeline: &Value,
        ids: &Ids,
    ) -> Result<(), String> {
        for name in &run.delete {
            std::fs::remove_file(place.join(name)).map_err(|e| format!("{name} cannot be deleted: {e}"))?;
        }
        inputs::write(place, &run.files);
        for (name, schema) in &run.schemas {
            let id = ids.schemas.get(name).ok_or_else(|| format!("there is no schema {name:?}"))?;
            let answer = self.api.put(&format!("/schemas/{id}"), &json!({"fields": fields(schema)?})).await;
            if answer.status != 200 {
                return Err(format!("the schema {name} is not changed: {}", answer.text));
            }
        }
        if !run.pipeline.is_empty() {
            let mut changes = run.pipeline.clone();
            changes.values_mut().for_each(|value| name_to_id(value, &ids.connectors));
            body.extend(changes.clone());
            let path = format!("/pipelines/{}", text(&pipeline["id"]));
            let answer = self.api.put(&path, &Value::Object(changes)).await;
            if answer.status != 200 {
                return Err(format!("the pipeline is not changed: {}", answer.text));
            }
        }
        Ok(())
    }

    async fn start(&self, run: &Step, pipeline: &Value, last: Option<&str>) -> Result<String, String> {
        let id = text(&pipeline["id"]);
        match (run.retry, last) {
            (true, Some(last)) => self.made(&format!("/pipelines/{id}/runs/{last}/retry"), &json!({})).await,
            (true, None) => Err("the first run retries none".to_owned()),
            (false, _) => {
                let parameters = run.parameters.clone().unwrap_or_else(|| json!({}));
                self.made(&format!("/pipelines/{id}/run"), &json!({ "parameters": parameters })).await
            }
        }
    }

    /// Waits for the end of a run and compares.
    async fn after(&self, pipeline: &Value, id: &str, expect: &Expect, ids: &Ids) -> Result<Vec<String>, String> {
        let path = format!("/pipelines/{}", text(&pipeline["id"]));
        let run = self.api.finished(text(&pipeline["id"]), id).await;
        let pipeline = self.api.get(&path).await.json();
        let progress = self.api.get(&format!("{path}/runs/{id}/progress")).await.json();
        let errors = self.all(&format!("{path}/runs/{id}/errors?limit=100")).await?;
        let mut tables = BTreeMap::new();
        for (name, schema) in &ids.schemas {
            if (name == "out" && expect.rows.is_some()) || expect.tables.contains_key(name) {
                let rows = self.all(&format!("/schemas/{schema}/data?limit=500")).await?;
                let lists =
                    rows.iter().filter_map(Value::as_object).map(|row| row.values().cloned().collect()).collect();
                tables.insert(name.clone(), lists);
            }
        }
        let items = |key: &str| pipeline[key].as_array().cloned().unwrap_or_default();
        let names: BTreeMap<_, _> =
            items("nodes").iter().map(|n| (text(&n["id"]).to_owned(), text(&n["clientId"]).to_owned())).collect();
        let end = |edge: &Value, key: &str| text(&edge[key]).to_owned();
        let edge = |e: &Value| Edge { from: end(e, "source"), to: end(e, "target"), label: end(e, "label") };
        // A pipeline without nodes copies a source into a target.
        let copy = || vec![Edge { from: "source".to_owned(), to: "target".to_owned(), label: String::new() }];
        let edges = if items("nodes").is_empty() { copy() } else { items("edges").iter().map(edge).collect() };
        let mut kept = Vec::new();
        if expect.kept.is_some() {
            let rows = self.all(&format!("/schemas/{}/data?limit=500&rejected=true", ids.schemas["out"])).await?;
            for row in rows.iter().filter_map(Value::as_object) {
                let mut row: Vec<Value> = row.values().skip(1).cloned().collect();
                if let Some(name) = names.get(text(&row[0])) {
                    row[0] = json!(name);
                }
                kept.push(row);
            }
        }
        Ok(differences(expect, &Seen { run, progress, errors, tables, kept, names, edges }))
    }

    /// All items of a list, page by page.
    async fn all(&self, path: &str) -> Result<Vec<Value>, String> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = self.api.get(&format!("{path}{cursor}")).await;
            if answer.status != 200 {
                return Err(format!("GET {path}: {}", answer.text));
            }
            let page = answer.json();
            items.extend(page["data"].as_array().cloned().unwrap_or_default());
            match page["pagination"]["cursor"].as_str() {
                None => return Ok(items),
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Puts ids in the place of names at every `connectorId`.
fn name_to_id(value: &mut Value, connectors: &BTreeMap<String, String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str().and_then(|name| connectors.get(name)) {
                    Some(id) if key == "connectorId" => *value = json!(id),
                    _ => name_to_id(value, connectors),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_to_id(item, connectors)),
        _ => {}
    }
}
