//! The functions that are linked in, by the names of their folders.

use shared::http::Function;
use shared::runtime::Trigger;
use std::collections::HashMap;

/// What each package exports, by the package's name, which is its folder's.
macro_rules! linked {
    ($export:ident: $($package:ident),+ $(,)?) => { HashMap::from([$((stringify!($package), $package::$export())),+]) };
}

/// What routes and events can call.
pub struct Functions {
    http: HashMap<&'static str, Function>,
    triggers: HashMap<&'static str, Trigger>,
}

impl Functions {
    /// All functions that need no engine, and `worker_http`, which has one.
    pub fn new(worker_http: Function) -> Self {
        let mut http = http();
        http.insert("worker_http", worker_http);
        Self { http, triggers: linked![trigger: on_dead_letter, on_schedule] }
    }

    /// The function of this folder that answers HTTP.
    pub fn http(&self, folder: &str) -> Option<Function> {
        self.http.get(folder).cloned()
    }

    /// The function of this folder that answers events.
    pub fn trigger(&self, folder: &str) -> Option<Trigger> {
        self.triggers.get(folder).cloned()
    }
}

#[rustfmt::skip]
fn http() -> HashMap<&'static str, Function> {
    linked![function:
        cancel_run, create_connector, create_pipeline, create_schema, delete_connector,
        delete_pipeline, delete_schema, get_connector, get_health, get_openapi, get_pipeline,
        get_pipeline_version, get_run, get_run_progress, get_run_receipt, get_schema, list_connector_types,
        list_connectors, list_fires, list_node_types, list_pipeline_versions, list_pipelines, list_run_errors,
        list_runs, list_schemas, not_found, preview_schedule, retry_run, run_pipeline, update_connector, update_pipeline, update_schema,
    ]
}
