//! All routes: method, path and action, as template.yaml deploys them (a test compares the two).

use crate::roles::Action::{self, *};

/// `(method, path, action)`.
pub const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/api/v1/pipelines", ListPipelines),
    ("POST", "/api/v1/pipelines", CreatePipeline),
    ("PUT", "/api/v1/pipelines", UpdatePipeline),
    ("DELETE", "/api/v1/pipelines", DeletePipeline),
    ("GET", "/api/v1/pipelines/{id}", GetPipeline),
    ("PUT", "/api/v1/pipelines/{id}", UpdatePipeline),
    ("DELETE", "/api/v1/pipelines/{id}", DeletePipeline),
    ("GET", "/api/v1/pipelines/{id}/versions", ListPipelineVersions),
    ("GET", "/api/v1/pipelines/{id}/versions/{version}", GetPipelineVersion),
    ("POST", "/api/v1/pipelines/{id}/validate", ValidatePipeline),
    ("POST", "/api/v1/pipelines/{id}/preview", PreviewPipeline),
    ("POST", "/api/v1/pipelines/{id}/run", RunPipeline),
    ("GET", "/api/v1/pipelines/{id}/fires", ListFires),
    ("GET", "/api/v1/pipelines/{id}/runs", ListRuns),
    ("GET", "/api/v1/pipelines/{id}/runs/{runId}", GetRun),
    ("GET", "/api/v1/pipelines/{id}/runs/{runId}/progress", GetRunProgress),
    ("GET", "/api/v1/pipelines/{id}/runs/{runId}/errors", ListRunErrors),
    ("GET", "/api/v1/pipelines/{id}/runs/{runId}/receipt", GetRunReceipt),
    ("POST", "/api/v1/pipelines/{id}/runs/{runId}/cancel", CancelRun),
    ("POST", "/api/v1/pipelines/{id}/runs/{runId}/retry", RetryRun),
    ("POST", "/api/v1/pipelines/{id}/runs/{runId}/rollback", RollbackRun),
    ("GET", "/api/v1/connectors", ListConnectors),
    ("POST", "/api/v1/connectors", CreateConnector),
    ("PUT", "/api/v1/connectors", UpdateConnector),
    ("DELETE", "/api/v1/connectors", DeleteConnector),
    ("GET", "/api/v1/connectors/{id}", GetConnector),
    ("PUT", "/api/v1/connectors/{id}", UpdateConnector),
    ("DELETE", "/api/v1/connectors/{id}", DeleteConnector),
    ("POST", "/api/v1/connectors/{id}/test", TestConnector),
    ("GET", "/api/v1/schemas", ListSchemas),
    ("POST", "/api/v1/schemas", CreateSchema),
    ("PUT", "/api/v1/schemas", UpdateSchema),
    ("DELETE", "/api/v1/schemas", DeleteSchema),
    ("GET", "/api/v1/schemas/{id}", GetSchema),
    ("PUT", "/api/v1/schemas/{id}", UpdateSchema),
    ("DELETE", "/api/v1/schemas/{id}", DeleteSchema),
    ("GET", "/api/v1/schemas/{id}/data", ListSchemaRows),
    ("POST", "/api/v1/schedules/preview", PreviewSchedule),
    ("GET", "/api/v1/node-types", ListNodeTypes),
    ("GET", "/api/v1/connector-types", ListConnectorTypes),
    ("GET", "/api/v1/openapi.json", GetOpenapi),
    ("GET", "/api/v1/health", GetHealth),
];

/// The methods that a path answers; empty where no route has it.
pub fn methods(path: &str) -> Vec<&'static str> {
    ROUTES.iter().filter(|(_, pattern, _)| meets(pattern, path)).map(|(method, ..)| *method).collect()
}

fn meets(pattern: &str, path: &str) -> bool {
    let (mut a, mut b) = (pattern.split('/'), path.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if p == s || (p.starts_with('{') && !s.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_knows_its_methods() {
        assert_eq!(methods("/api/v1/pipelines/pipe_1/run"), ["POST"]);
        assert_eq!(methods("/api/v1/health"), ["GET"]);
        assert!(methods("/api/v1/pipelines/pipe_1/nothing").is_empty());
    }

    #[test]
    fn every_action_but_the_fallback_has_a_route() {
        for action in Action::ALL {
            assert!(*action == NotFound || ROUTES.iter().any(|(.., a)| a == action), "{action:?}");
        }
    }
}
