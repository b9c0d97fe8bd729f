//! Reads `template.yaml`, so that what works locally is what is deployed: routes, triggers, table and queues.

use crate::sqs::{QueueAttributes, SqsError};
use serde_json::{Map, Value, json};
use serde_yaml_ng as yaml;
use shared::config::DEFAULT_SHARDS;
use std::time::Duration;

/// The text of the template that is deployed, as it was when this was built.
pub const TEMPLATE: &str = include_str!("../../../template.yaml");

/// Why the template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is not YAML.
    #[error("template.yaml is not valid YAML: {0}")]
    Yaml(#[from] yaml::Error),
    /// A resource lacks something, or has what the local stack does not know.
    #[error("template.yaml, resource {resource}: {reason}")]
    Resource {
        /// Its logical id.
        resource: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// What the local stack needs of the template.
#[derive(Debug, Clone)]
pub struct Template {
    /// What answers HTTP.
    pub routes: Vec<Route>,
    /// What answers events.
    pub triggers: Vec<Trigger>,
    /// The one table.
    pub table: Table,
    /// All queues.
    pub queues: Vec<Queue>,
    /// Shards of the index of what is due, as `FLOWGATE_SHARDS` says.
    pub shards: u32,
    /// Environment variables that name a resource, such as `FLOWGATE_TICKS_QUEUE_URL` and `TicksQueue`.
    variables: Vec<(String, String)>,
}

/// A route of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `GET /api/v1/pipelines/{id}`, or `$default` for what no other route takes.
    pub key: String,
    /// The folder in `functions/` that answers it.
    pub function: String,
}

/// An event that calls a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The folder in `functions/`.
    pub function: String,
    /// What happens.
    pub on: On,
}

/// What calls a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// Time: at each multiple of this duration.
    Schedule(Duration),
    /// Messages on this queue, so many at once.
    Queue {
        /// The queue's logical id.
        queue: String,
        /// The most messages of one event.
        batch: usize,
        /// The most events that are handled at once.
        concurrency: usize,
    },
}

/// The table as DynamoDB's `CreateTable` and `UpdateTimeToLive` take it.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its logical id, which is its name here.
    pub name: String,
    /// What `CreateTable` takes, without capacities and backups.
    pub definition: Value,
    /// The attribute that says when an item expires.
    pub ttl: Option<String>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its logical id, which is its name here.
    pub name: String,
    /// What it does with its messages.
    pub attributes: QueueAttributes,
}

impl Template {
    /// The template that this binary was built with.
    ///
    /// # Errors
    /// Where it has something that the local stack does not know; a test holds that it has not.
    pub fn embedded() -> Result<Self, TemplateError> {
        Self::parse(TEMPLATE)
    }

    /// Reads a template's text.
    ///
    /// # Errors
    /// Where it is not YAML, or a resource lacks what is needed.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let document = plain(yaml::from_str(text)?);
        let globals = &document["Globals"]["Function"];
        let shards = number(&globals["Environment"]["Variables"]["FLOWGATE_SHARDS"], &document["Parameters"]);
        let mut template = Self {
            routes: vec![],
            triggers: vec![],
            table: Table::none(),
            queues: vec![],
            shards: shards.and_then(|shards| shards.try_into().ok()).unwrap_or(DEFAULT_SHARDS),
            variables: vec![],
        };
        template.read_variables(globals);
        for (id, resource) in document["Resources"].as_object().into_iter().flatten() {
            let properties = &resource["Properties"];
            let read = match resource["Type"].as_str() {
                Some("AWS::DynamoDB::Table") => table(id, properties).map(|table| template.table = table),
                Some("AWS::SQS::Queue") => queue(id, properties).map(|queue| template.queues.push(queue)),
                Some("AWS::Serverless::Function") => {
                    template.read_variables(properties);
                    template.read_function(resource, &document["Parameters"])
                }
                _ => Ok(()),
            };
            read.map_err(|reason| TemplateError::Resource { resource: id.clone(), reason })?;
        }
        template.check()
    }

    /// The name of the table or queue whose name or address an environment variable of the functions holds.
    pub fn resource(&self, variable: &str) -> Option<&str> {
        self.variables.iter().find(|(name, _)| name == variable).map(|(_, resource)| resource.as_str())
    }

    fn read_variables(&mut self, properties: &Value) {
        let variables = properties["Environment"]["Variables"].as_object();
        for (name, value) in variables.into_iter().flatten() {
            if let Some(resource) = value["Ref"].as_str() {
                self.variables.push((name.clone(), resource.to_owned()));
            }
        }
    }

    fn read_function(&mut self, resource: &Value, parameters: &Value) -> Result<(), String> {
        let properties = &resource["Properties"];
        let folder = properties["CodeUri"].as_str().and_then(|uri| uri.strip_prefix("functions/"));
        let function = folder
            .or(resource["Metadata"]["Binary"].as_str())
            .ok_or("it has neither a CodeUri below functions/ nor a Binary in its Metadata")?;
        for (name, event) in properties["Events"].as_object().into_iter().flatten() {
            self.read_event(function, event, parameters).map_err(|reason| format!("event {name}: {reason}"))?;
        }
        Ok(())
    }

    fn read_event(&mut self, function: &str, event: &Value, parameters: &Value) -> Result<(), String> {
        let properties = &event["Properties"];
        let on = match event["Type"].as_str() {
            Some("HttpApi") => {
                self.routes.push(Route { key: route_key(properties)?, function: function.to_owned() });
                return Ok(());
            }
            Some("Schedule" | "ScheduleV2") => On::Schedule(rate(&properties["Schedule"])?),
            Some("SQS") => On::Queue {
                queue: referenced(&properties["Queue"]).ok_or("its Queue is not a queue of this template")?,
                batch: properties["BatchSize"].as_u64().unwrap_or(10).clamp(1, 10) as usize,
                concurrency: number(&properties["ScalingConfig"]["MaximumConcurrency"], parameters)
                    .unwrap_or(1)
                    .clamp(1, 64) as usize,
            },
            other => return Err(format!("the local stack knows HttpApi, Schedule and SQS, not {other:?}")),
        };
        self.triggers.push(Trigger { function: function.to_owned(), on });
        Ok(())
    }

    fn check(self) -> Result<Self, TemplateError> {
        let fault =
            |resource: &str, reason: String| Err(TemplateError::Resource { resource: resource.to_owned(), reason });
        if self.table.name.is_empty() {
            return fault("Resources", "there is no AWS::DynamoDB::Table".to_owned());
        }
        let is_queue = |name: &str| self.queues.iter().any(|queue| queue.name == name);
        for queue in &self.queues {
            if let Some(redrive) = &queue.attributes.redrive
                && !is_queue(&redrive.queue)
            {
                return fault(&queue.name, format!("its dead-letter queue {} is not there", redrive.queue));
            }
        }
        for trigger in &self.triggers {
            if let On::Queue { queue, .. } = &trigger.on
                && !is_queue(queue)
            {
                return fault(queue, format!("it calls {} and is not a queue of this template", trigger.function));
            }
        }
        Ok(self)
    }
}

impl Table {
    fn none() -> Self {
        Self { name: String::new(), definition: Value::Null, ttl: None }
    }
}

/// The document without tags: `!Ref X` as `{"Ref": "X"}`, `!GetAtt X.Y` as `{"Fn::GetAtt": "X.Y"}`.
fn plain(value: yaml::Value) -> Value {
    match value {
        yaml::Value::Null => Value::Null,
        yaml::Value::Bool(b) => Value::Bool(b),
        yaml::Value::Number(n) => serde_json::to_value(n).unwrap_or_default(),
        yaml::Value::String(s) => Value::String(s),
        yaml::Value::Sequence(items) => Value::Array(items.into_iter().map(plain).collect()),
        yaml::Value::Mapping(entries) => Value::Object(
            entries.into_iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), plain(value)))).collect(),
        ),
        yaml::Value::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                short @ ("Ref" | "Condition") => short.to_owned(),
                other => format!("Fn::{other}"),
            };
            json!({ name: plain(tagged.value) })
        }
    }
}

/// A number, or the default of the parameter that `!Ref X` names.
fn number(value: &Value, parameters: &Value) -> Option<u64> {
    value.as_u64().or_else(|| parameters[value["Ref"].as_str()?]["Default"].as_u64())
}

/// The logical id that `!Ref X`, `!GetAtt X.Y` or their long forms name.
fn referenced(value: &Value) -> Option<String> {
    let attribute = &value["Fn::GetAtt"];
    let name = value["Ref"].as_str().or_else(|| attribute.as_str()).or_else(|| attribute[0].as_str())?;
    Some(name.split('.').next().unwrap_or(name).to_owned())
}

/// `GET /path` of an HttpApi event; `$default` where it has no path.
fn route_key(properties: &Value) -> Result<String, String> {
    match (properties["Method"].as_str(), properties["Path"].as_str()) {
        (None, None) => Ok("$default".to_owned()),
        (Some(method), Some(path)) => Ok(format!("{} {path}", method.to_ascii_uppercase())),
        _ => Err("it needs both Method and Path, or neither for the default route".to_owned()),
    }
}

/// `rate(1 minute)`.
fn rate(schedule: &Value) -> Result<Duration, String> {
    let seconds = schedule.as_str().and_then(|text| {
        let (count, unit) = text.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
        let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
        match unit {
            "minute" | "minutes" => Some(count * 60),
            "hour" | "hours" => Some(count * 3600),
            _ => None,
        }
    });
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("the local stack knows schedules such as rate(1 minute), not {schedule}"))
}

fn table(id: &str, properties: &Value) -> Result<Table, String> {
    let mut definition = Map::new();
    definition.insert("TableName".to_owned(), json!(id));
    for name in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode"] {
        if let Some(value) = properties.get(name) {
            definition.insert(name.to_owned(), value.clone());
        }
    }
    for name in ["AttributeDefinitions", "KeySchema"] {
        if !definition.contains_key(name) {
            return Err(format!("it has no {name}"));
        }
    }
    let ttl = &properties["TimeToLiveSpecification"];
    let ttl = ttl["AttributeName"].as_str().filter(|_| ttl["Enabled"] == json!(true)).map(str::to_owned);
    Ok(Table { name: id.to_owned(), definition: Value::Object(definition), ttl })
}

fn queue(id: &str, properties: &Value) -> Result<Queue, String> {
    let mut changes = Map::new();
    for (name, value) in properties.as_object().into_iter().flatten() {
        let value = match name.as_str() {
            "RedrivePolicy" => {
                let target = referenced(&value["deadLetterTargetArn"])
                    .ok_or("the deadLetterTargetArn of its RedrivePolicy is not a queue of this template")?;
                let policy = json!({
                    "deadLetterTargetArn": crate::sqs::arn(&target), "maxReceiveCount": value["maxReceiveCount"],
                });
                json!(policy.to_string())
            }
            // The logical id is the name, and encryption has no meaning here.
            "QueueName" | "Tags" | "KmsMasterKeyId" => continue,
            _ => value.clone(),
        };
        changes.insert(name.clone(), value);
    }
    let mut attributes = QueueAttributes::default();
    attributes.apply(&changes).map_err(|error: SqsError| error.to_string())?;
    Ok(Queue { name: id.to_owned(), attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployed_template_is_understood() {
        let template = Template::embedded().unwrap();
        let find = |key: &str| template.routes.iter().find(|route| route.key == key).map(|route| &*route.function);
        assert_eq!(find("GET /api/v1/pipelines"), Some("list_pipelines"));
        assert_eq!(find("GET /api/v1/schemas/{id}/data"), Some("worker_http"));
        assert_eq!(find("$default"), Some("not_found"));
        assert_eq!(template.resource("FLOWGATE_RUNS_QUEUE_URL"), Some("RunsQueue"));
        assert_eq!(template.resource("FLOWGATE_TABLE"), Some(&*template.table.name));
        assert_eq!(template.table.ttl.as_deref(), Some("expiresAt"));
        assert_eq!(template.table.definition["GlobalSecondaryIndexes"][0]["IndexName"], "GSI1");
        let minute = On::Schedule(Duration::from_secs(60));
        assert!(template.triggers.contains(&Trigger { function: "on_schedule".to_owned(), on: minute }));
    }

    #[test]
    fn the_runs_queue_hands_its_dead_letters_to_on_dead_letter() {
        let template = Template::embedded().unwrap();
        let runs = template.queues.iter().find(|queue| queue.name == "RunsQueue").unwrap();
        let redrive = runs.attributes.redrive.clone().unwrap();
        assert_eq!((runs.attributes.visibility_timeout, redrive.max_receive_count), (20, 20));
        let takes = |trigger: &Trigger| match &trigger.on {
            On::Queue { queue, .. } => trigger.function == "on_dead_letter" && *queue == redrive.queue,
            On::Schedule(_) => false,
        };
        assert!(template.triggers.iter().any(takes));
    }

    #[test]
    fn the_routes_are_those_that_the_functions_know() {
        let template = Template::embedded().unwrap();
        let mut deployed: Vec<&str> = template.routes.iter().map(|route| &*route.key).collect();
        let known: Vec<String> =
            shared::http::routes::ROUTES.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
        let mut known: Vec<&str> = known.iter().map(String::as_str).chain(["$default"]).collect();
        deployed.sort_unstable();
        known.sort_unstable();
        assert_eq!(deployed, known);
    }

    #[test]
    fn what_the_local_stack_does_not_know_is_named() {
        let error = |resource: &str| Template::parse(&format!("Resources:\n{resource}")).unwrap_err().to_string();
        let cron = "
  Nightly:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/nightly
      Events: { Night: { Type: Schedule, Properties: { Schedule: cron(0 2 * * ? *) } } }";
        assert!(error(cron).contains("resource Nightly: event Night: the local stack knows schedules such as"));
        assert!(error("  Other: { Type: AWS::S3::Bucket }").contains("no AWS::DynamoDB::Table"));
    }
}
