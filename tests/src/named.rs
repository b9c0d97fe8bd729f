//! The connector, schema, pipeline and run that the events of tests/events/ name, as they lie in the table.

use serde_json::{Value, json};
use shared::clock::Clock;
use shared::launch;
use shared::models::connector::{AuthMethod, Connector, ConnectorStatus, ConnectorType};
use shared::models::pipeline::Pipeline;
use shared::models::run::{Run, Trigger};
use shared::models::schema::Schema;
use shared::models::time::{JsonText, Time};
use shared::store::Store;

pub const PIPELINE: &str = "pipe_019b0000000070008000000000000001";
pub const RUN: &str = "run_019b0000000070008000000000000002";
pub const CONNECTOR: &str = "conn_019b0000000070008000000000000003";
pub const SCHEMA: &str = "schema_019b0000000070008000000000000004";

/// Keeps the connector.
pub async fn keep_connector(store: &Store, tenant: &str, name: &str) {
    let now = Time(Clock::default().now());
    let connector = Connector {
        id: CONNECTOR.to_owned(),
        tenant_id: tenant.to_owned(),
        name: name.to_owned(),
        r#type: ConnectorType::AwsS3,
        description: None,
        config: JsonText(serde_json::from_value(json!({"bucket": "acme-exports"})).unwrap()),
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
    store.create_connector(&connector, None).await.unwrap();
}

/// Keeps the schema.
pub async fn keep_schema(store: &Store, tenant: &str, name: &str) {
    let fields = json!([{"name": "id", "dataType": "bigint"}, {"name": "age", "dataType": "integer"}]);
    keep_schema_as(store, tenant, SCHEMA, name, fields).await;
}

/// Keeps a schema under an id of the caller's choice.
pub async fn keep_schema_as(store: &Store, tenant: &str, id: &str, name: &str, fields: Value) {
    let now = Time(Clock::default().now());
    let schema = Schema {
        id: id.to_owned(),
        tenant_id: tenant.to_owned(),
        name: name.to_owned(),
        display_name: None,
        description: None,
        fields: JsonText(serde_json::from_value(fields).unwrap()),
        version: 1,
        users: 0,
        created_at: now,
        updated_at: now,
    };
    store.create_schema(&schema, None).await.unwrap();
}

/// The pipeline, as it was made at `at`.
pub fn pipeline(tenant: &str, schedule: Option<&str>, at: Time) -> Pipeline {
    Pipeline {
        id: PIPELINE.to_owned(),
        tenant_id: tenant.to_owned(),
        name: "Hourly".to_owned(),
        description: None,
        version: 1,
        schedule: schedule.map(str::to_owned),
        timezone: "UTC".to_owned(),
        enabled: true,
        connector_id: CONNECTOR.to_owned(),
        schema_id: SCHEMA.to_owned(),
        execution_config: JsonText::default(),
        nodes: JsonText::default(),
        edges: JsonText::default(),
        tables: JsonText::default(),
        created_at: at,
        updated_at: at,
    }
}

/// Keeps the pipeline and its pending run, which is sent to nobody.
pub async fn keep_pipeline_and_run(store: &Store, tenant: &str) -> Run {
    let now = Time(Clock::default().now());
    let pipeline = pipeline(tenant, None, now);
    store.create_pipeline(&pipeline, None).await.unwrap();
    let run = launch::new_run(&pipeline, RUN.to_owned(), Trigger::Manual, "ada", now);
    store.create_run(&run, None, None).await.unwrap();
    run
}
