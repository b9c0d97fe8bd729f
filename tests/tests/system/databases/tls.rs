//! Connections that are encrypted, to servers that sign their certificates themselves.

use super::pipeline;
use serde_json::{Value, json};
use tests::World;
use tests::servers::{self, Engine, Server, encrypted};

#[tokio::test]
async fn postgresql_is_reached_over_tls_and_asked_who_it_is() {
    let Some(server) = encrypted(Engine::Postgres) else { return };
    let is_encrypted = "SELECT ssl::int AS id FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    modes_of_tls(&server, "postgres", is_encrypted).await;
}

#[tokio::test]
async fn mysql_is_reached_over_tls_and_asked_who_it_is() {
    let Some(server) = encrypted(Engine::Maria) else { return };
    let is_encrypted =
        "SELECT variable_value <> '' AS id FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'";
    modes_of_tls(&server, "mysql", is_encrypted).await;
}

async fn modes_of_tls(server: &Server, database: &str, is_encrypted: &str) {
    let world = World::new().await;
    let schema = world.schema("s", json!([{"name": "id", "dataType": "integer"}])).await;
    let certificate = server.certificate.as_deref().unwrap();
    let copied = async |name: &str, config: Value| {
        let mut all = json!({"host": "localhost", "port": server.port, "database": database, "query": is_encrypted});
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let auth = json!({"username": servers::USER, "password": servers::PASSWORD});
        let body =
            json!({"name": name, "type": server.kind(), "config": all, "authMethod": "password", "authConfig": auth});
        let id = world.api.create("/connectors", &body).await;
        let copy = pipeline(&world, &id, &schema, json!({}), json!({"loadMode": "truncate"})).await;
        let run = world.run(&copy).await;
        let rows = world.api.rows(&schema).await;
        (run, rows.first().map(|row| row["id"].clone()))
    };
    for (name, config, wanted) in [
        ("disable", json!({"sslMode": "disable"}), 0),
        ("prefer", json!({}), 1),
        ("require", json!({"sslMode": "require"}), 1),
        ("verify", json!({"sslMode": "verify-full", "sslRootCert": certificate}), 1),
    ] {
        let (run, found) = copied(name, config).await;
        assert_eq!((&run["status"], found), (&json!("completed"), Some(json!(wanted))), "{name}: {run}");
    }
    for (name, config) in [
        ("unknown", json!({"sslMode": "verify-full"})),
        ("another host", json!({"sslMode": "verify-full", "sslRootCert": certificate, "host": "127.0.0.1"})),
    ] {
        let (run, _) = copied(name, config).await;
        assert_eq!(run["error"]["code"], "SOURCE_ERROR", "{name}: {run}");
        let message = run["error"]["message"].as_str().unwrap();
        assert!(message.contains("certificate") && message.contains("sslMode"), "{name}: {message}");
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (run, _) = copied("broken", json!({"sslMode": "verify-full", "sslRootCert": broken})).await;
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("the certificate number 1 of sslRootCert cannot be read"), "{message}");
    let config = json!({"host": "db", "database": "d", "sslRootCert": certificate});
    let auth = json!({"username": "u"});
    let body = json!({"name": "unused", "type": server.kind(), "config": config, "authMethod": "password", "authConfig": auth});
    assert_eq!(world.api.post("/connectors", &body).await.expect(400).pointers(), ["/config/sslRootCert"]);
}
