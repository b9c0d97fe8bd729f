//! The Lambda function `list_node_types`.

fn main() -> std::process::ExitCode {
    shared::http::lambda::main(list_node_types::function)
}
