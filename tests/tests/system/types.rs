//! The lists of node and connector types, for editors.

use serde_json::{Value, json};
use shared::roles::Role;
use tests::World;

fn of<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    list["data"].as_array().unwrap().iter().find(|item| item[key] == name).unwrap_or_else(|| panic!("{name}"))
}

#[tokio::test]
async fn every_role_can_read_the_types_with_their_schemas() {
    let world = World::new().await;
    for role in [Role::Admin, Role::Editor, Role::Viewer] {
        let answer = world.api(role, "acme").get("/node-types").await.expect(200);
        assert!(answer.header("etag").starts_with('"'));
        let nodes = answer.json();
        let filter = of(&nodes, "nodeType", "filter");
        assert_eq!(filter["configSchema"]["required"], json!(["condition"]));
        assert_eq!(of(&nodes, "nodeType", "join")["inputs"]["labels"], json!(["left", "right"]));
        assert!(of(&nodes, "nodeType", "transform")["ops"].as_array().unwrap().iter().any(|op| op["op"] == "hash"));
        let connectors = world.api(role, "acme").get("/connector-types").await.expect(200).json();
        let s3 = of(&connectors, "type", "aws_s3");
        assert_eq!((&s3["canBeSource"], &s3["canBeTarget"]), (&json!(true), &json!(false)));
        assert_eq!(s3["authMethods"][1]["method"], "access_key");
        assert!(s3["authMethods"][1]["authSchema"]["properties"]["secretAccessKey"].is_object());
    }
    let mut nobody = world.api.clone();
    nobody.token = String::new();
    nobody.get("/node-types").await.expect(401);
}
