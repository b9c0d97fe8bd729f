//! The Lambda function `worker_http`: what needs the engine within a request.

fn main() -> std::process::ExitCode {
    worker::start::start(async {
        let services = shared::runtime::services(Some(shared::http::lambda::LONGEST_CALL)).await?;
        let (worker, _) = worker::start::from_env(std::sync::Arc::clone(&services)).await?;
        shared::http::lambda::serve_runtime(worker::answer::function(worker), services).await
    })
}
