//! Who may do what: one exhaustive match of action and role.

use serde::{Deserialize, Serialize};

/// A role of a caller, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Editor,
    Admin,
}

impl Role {
    /// All roles, the highest first.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Editor, Self::Viewer];

    /// The role of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(name.trim()))
    }

    /// Its name in a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }
}

/// Who may do an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a token.
    Public,
    /// Any caller with a valid token and a tenant, also one with no known role.
    Authenticated,
    /// Callers with this role or a higher one.
    AtLeast(Role),
}

macro_rules! actions {
    ($($variant:ident $name:literal $access:expr;)+) => {
        /// Everything that a route can do; a route's function carries the action's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $(#[doc = $name] $variant),+ }

        impl Action {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name of the action, which is that of its function.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Who may do it.
            pub fn access(self) -> Access {
                match self { $(Self::$variant => $access),+ }
            }
        }
    };
}

const READ: Access = Access::AtLeast(Role::Viewer);
const WRITE: Access = Access::AtLeast(Role::Editor);

actions! {
    ListPipelines "list_pipelines" READ;
    GetPipeline "get_pipeline" READ;
    CreatePipeline "create_pipeline" WRITE;
    UpdatePipeline "update_pipeline" WRITE;
    DeletePipeline "delete_pipeline" WRITE;
    ListPipelineVersions "list_pipeline_versions" READ;
    GetPipelineVersion "get_pipeline_version" READ;
    ValidatePipeline "validate_pipeline" WRITE;
    PreviewPipeline "preview_pipeline" WRITE;
    RunPipeline "run_pipeline" WRITE;
    ListFires "list_fires" READ;
    ListRuns "list_runs" Access::Authenticated;
    GetRun "get_run" READ;
    GetRunProgress "get_run_progress" READ;
    ListRunErrors "list_run_errors" READ;
    GetRunReceipt "get_run_receipt" READ;
    CancelRun "cancel_run" WRITE;
    RetryRun "retry_run" WRITE;
    RollbackRun "rollback_run" WRITE;
    ListConnectors "list_connectors" READ;
    GetConnector "get_connector" READ;
    CreateConnector "create_connector" WRITE;
    UpdateConnector "update_connector" WRITE;
    DeleteConnector "delete_connector" WRITE;
    TestConnector "test_connector" WRITE;
    ListConnectorTypes "list_connector_types" READ;
    ListSchemas "list_schemas" READ;
    GetSchema "get_schema" READ;
    CreateSchema "create_schema" WRITE;
    UpdateSchema "update_schema" WRITE;
    DeleteSchema "delete_schema" WRITE;
    ListSchemaRows "list_schema_rows" READ;
    PreviewSchedule "preview_schedule" READ;
    ListNodeTypes "list_node_types" READ;
    GetHealth "get_health" Access::Public;
    GetOpenapi "get_openapi" Access::Public;
    NotFound "not_found" Access::Public;
}

/// Whether a caller with this role (if any) may do the action.
pub fn allowed(role: Option<Role>, action: Action) -> bool {
    match action.access() {
        Access::Public | Access::Authenticated => true,
        Access::AtLeast(least) => role.is_some_and(|role| role >= least),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_of_roles_is_the_agreed_one() {
        let mut lines = vec![format!("{:<24}{:<8}{:<8}{:<8}none", "", "admin", "editor", "viewer")];
        for &action in Action::ALL {
            let mark = |role| if allowed(role, action) { "yes" } else { "-" };
            let row: Vec<_> = Role::ALL.into_iter().map(|r| format!("{:<8}", mark(Some(r)))).collect();
            let none = match action.access() {
                Access::Public => "no token needed",
                _ => mark(None),
            };
            lines.push(format!("{:<24}{}{none}", action.name(), row.concat()));
        }
        assert_eq!(lines.join("\n") + "\n", include_str!("roles.txt"));
    }
}
