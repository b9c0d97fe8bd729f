//! Who may call what.

use reqwest::Method;
use shared::http::routes::ROUTES;
use shared::roles::{Access, Role, allowed};
use tests::{Api, World};

fn path(route: &str) -> String {
    route
        .strip_prefix("/api/v1")
        .unwrap()
        .replace("{id}", "pipe_0")
        .replace("{runId}", "run_0")
        .replace("{version}", "1")
}

#[tokio::test]
async fn every_route_answers_401_403_or_neither_as_the_matrix_says() {
    let world = World::new().await;
    let nobody = Api::new(&world.stack.url(), "");
    for (method, route, action) in ROUTES {
        let method: Method = method.parse().unwrap();
        let answer = nobody.send(method.clone(), &path(route), &[], None).await;
        let public = action.access() == Access::Public;
        assert_eq!(answer.status.as_u16() == 401, !public, "{method} {route} without a token");
        if !public {
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        for role in Role::ALL {
            let answer = world.api(role, "acme").send(method.clone(), &path(route), &[], None).await;
            assert_eq!(answer.status.as_u16() != 403, allowed(Some(role), *action), "{role:?} {method} {route}");
        }
    }
}

fn token(world: &World, claims: &serde_json::Value) -> String {
    let secret = world.stack.folder().jwt_secret().unwrap();
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[tokio::test]
async fn a_caller_without_a_known_role_may_list_runs_and_nothing_else() {
    let world = World::new().await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", serde_json::json!([{"name": "a", "dataType": "text"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let exp = chrono::Utc::now().timestamp() + 600;
    let claims = serde_json::json!({"sub": "x", "exp": exp, "tenantId": "acme", "role": "janitor"});
    let janitor = Api::new(&world.stack.url(), &token(&world, &claims));
    janitor.get(&format!("/pipelines/{pipeline}/runs")).await.expect(200);
    janitor.get("/pipelines").await.expect(403);
    janitor.get(&format!("/pipelines/{pipeline}")).await.expect(403);
}

#[tokio::test]
async fn a_bad_token_is_refused_with_the_reason() {
    let world = World::new().await;
    let good = serde_json::json!({"sub": "x", "exp": chrono::Utc::now().timestamp() + 600, "tenantId": "acme", "roles": ["viewer", "editor"]});
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        Api::new(&world.stack.url(), &token(&world, &claims))
    };
    with(&|_| {}).get("/pipelines").await.expect(200);
    with(&|c| c["exp"] = 1.into()).get("/pipelines").await.expect(401);
    with(&|c| drop(c.as_object_mut().unwrap().remove("sub"))).get("/pipelines").await.expect(401);
    with(&|c| drop(c.as_object_mut().unwrap().remove("tenantId"))).get("/pipelines").await.expect(403);
    let wrong = jsonwebtoken::EncodingKey::from_secret(b"another secret that is long enough");
    let forged = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &good, &wrong).unwrap();
    let answer = Api::new(&world.stack.url(), &forged).get("/pipelines").await.expect(401);
    assert_eq!(answer.json()["code"], "UNAUTHENTICATED");
    Api::new(&world.stack.url(), "garbage").get("/pipelines").await.expect(401);
}

#[tokio::test]
async fn another_tenants_ids_do_not_exist() {
    let world = World::new().await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", serde_json::json!([{"name": "a", "dataType": "text"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let run = world.run(&pipeline).await["id"].as_str().unwrap().to_owned();
    let other = world.api(Role::Admin, "other");
    let runs = format!("/pipelines/{pipeline}/runs");
    for path in [
        format!("/pipelines/{pipeline}"),
        format!("/pipelines/{pipeline}/versions"),
        format!("/pipelines/{pipeline}/fires"),
        format!("/pipelines/{pipeline}/versions/1"),
        runs.clone(),
        format!("{runs}/{run}"),
        format!("{runs}/{run}/progress"),
        format!("{runs}/{run}/errors"),
        format!("{runs}/{run}/receipt"),
        format!("/connectors/{connector}"),
        format!("/schemas/{schema}"),
        format!("/schemas/{schema}/data"),
    ] {
        assert_eq!(other.get(&path).await.expect(404).json()["code"], "NOT_FOUND", "{path}");
    }
    other.delete(&format!("/pipelines/{pipeline}")).await.expect(404);
    other.delete(&format!("/connectors/{connector}")).await.expect(404);
    other.post(&format!("/pipelines/{pipeline}/run"), &serde_json::json!({})).await.expect(404);
    for action in ["cancel", "retry", "rollback"] {
        other.post(&format!("{runs}/{run}/{action}"), &serde_json::json!({})).await.expect(404);
    }
    for action in ["validate", "preview"] {
        other.post(&format!("/pipelines/{pipeline}/{action}"), &serde_json::json!({})).await.expect(404);
    }
    other.post(&format!("/connectors/{connector}/test"), &serde_json::json!({})).await.expect(404);
    let change = serde_json::json!({"description": "theirs"});
    for path in [format!("/pipelines/{pipeline}"), format!("/connectors/{connector}"), format!("/schemas/{schema}")] {
        other.put(&path, &change).await.expect(404);
        assert_eq!(world.api.get(&path).await.expect(200).json()["version"], 1, "{path}");
    }
    other.delete(&format!("/schemas/{schema}")).await.expect(404);
    assert_eq!(other.get("/pipelines").await.expect(200).json()["data"], serde_json::json!([]));
    let body = serde_json::json!({"name": "p", "connectorId": connector, "schemaId": schema});
    let answer = other.post("/pipelines", &body).await.expect(400);
    assert_eq!(answer.pointers(), ["/connectorId", "/schemaId"]);
}
