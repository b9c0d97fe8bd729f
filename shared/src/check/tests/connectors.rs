//! Bodies of connectors.

use super::*;
use crate::check::connector::{ConnectorInput, Stored, create, update};
use crate::models::connector::{AuthMethod, ConnectorType};
use serde_json::Map;
use std::sync::LazyLock;

static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
static FILES: LazyLock<Stored<'_>> =
    LazyLock::new(|| Stored { kind: ConnectorType::LocalFs, auth_method: AuthMethod::None, config: &EMPTY });
static KEYS: LazyLock<Stored<'_>> =
    LazyLock::new(|| Stored { kind: ConnectorType::AwsS3, auth_method: AuthMethod::AccessKey, config: &EMPTY });

fn s3(auth_method: &str, auth: Value) -> Value {
    json!({"name": "n", "type": "aws_s3", "config": {"bucket": "data"}, "authMethod": auth_method, "authConfig": auth})
}

fn made(value: Value) -> ConnectorInput {
    let (input, faults) = create(&body(value));
    assert_eq!(faults, []);
    input.unwrap()
}

#[test]
fn connectors_of_both_types_are_taken() {
    let files = made(
        json!({"name": " Files ", "type": "local_fs", "config": {"path": "in/*.csv", "options": {"header": false}}}),
    );
    assert_eq!(
        (files.name.as_str(), files.kind, files.auth_method),
        ("Files", ConnectorType::LocalFs, AuthMethod::None)
    );
    let s3 = made(s3("access_key", json!({"accessKeyId": "a", "secretAccessKey": "b"})));
    assert!(s3.auth.is_some_and(|auth| json!(auth)["secretAccessKey"] == "b"));
    assert!(
        made(json!({"name": "n", "type": "aws_s3", "config": {"bucket": "data", "endpoint": "http://127.0.0.1:9000"}}))
            .auth
            .is_none()
    );
}

#[test]
fn an_unknown_type_lists_the_known_ones() {
    let of = |kind: Value| create(&body(json!({"name": "n", "type": kind, "config": {}}))).1;
    let faults = of(json!("aws_s4"));
    let known = "local_fs, aws_s3, gcs, azure_blob, postgresql, mysql, rest_api";
    assert_eq!(faults[0].detail, format!("unknown type \"aws_s4\"; did you mean \"aws_s3\"?; known: {known}"));
    assert_eq!(lines(faults), ["/type unknown"]);
    assert_eq!(
        lines(of(json!("postgresql"))),
        ["/authMethod required", "/config/database required", "/config/host required"]
    );
    assert_eq!(lines(of(json!(5))), ["/type type"]);
    assert_eq!(lines(create(&body(json!({"name": "n", "config": {}}))).1), ["/type required"]);
}

#[test]
fn all_faults_of_a_connector_come_in_one_answer() {
    let (input, faults) = create(&body(json!({
        "name": "  ", "type": "aws_s3", "descripton": "x", "authMethod": "acess_key",
        "config": {"bucket": "A", "endpoint": "ftp://x", "region": "", "prefx": "a", "format": "avro",
            "options": {"delimiter": ";;", "encoding": "utf8", "skipRows": -1, "columns": {"a": "int"}}}
    })));
    assert!(input.is_none());
    assert_eq!(
        lines(faults),
        [
            "/authMethod unknown",
            "/config/bucket length",
            "/config/bucket pattern",
            "/config/endpoint format",
            "/config/options/columns/a unknown",
            "/config/options/delimiter length",
            "/config/options/encoding unknown",
            "/config/options/skipRows range",
            "/config/prefx unknown_field",
            "/config/region pattern",
            "/descripton unknown_field",
            "/name format",
        ]
    );
}

#[test]
fn the_config_must_fit_the_type() {
    let (_, faults) = create(&body(json!({"name": "n", "type": "local_fs", "config": {"bucket": "data"}})));
    assert_eq!(lines(faults), ["/config/bucket unknown_field", "/config/path required"]);
    let (_, faults) = create(&body(json!({"name": "n", "type": "local_fs", "config": {"path": "../x"}})));
    assert_eq!(lines(faults), ["/config/path format"]);
    let (_, faults) = create(&body(json!({"name": "n", "type": "local_fs", "config": {"path": "x.avro.bz2"}})));
    assert_eq!(faults, []);
    let (_, faults) = create(&body(
        json!({"name": "n", "type": "local_fs", "config": {"path": "a..b/c", "format": "parquet", "options": {"delimiter": ",", "quote": ","}}}),
    ));
    assert_eq!(
        lines(faults),
        [
            "/config/options/delimiter contradiction",
            "/config/options/quote contradiction",
            "/config/options/quote contradiction"
        ]
    );
}

#[test]
fn no_fault_of_a_config_hides_another() {
    let of = |kind: &str, config: Value| lines(create(&body(json!({"name": "n", "type": kind, "config": config}))).1);
    assert_eq!(
        of("mysql", json!({"host": "h", "database": "d", "table": "t", "query": "SELECT 1", "foo": 1})),
        ["/authMethod required", "/config/foo unknown_field", "/config/query contradiction"]
    );
    // What was meant cannot be read either.
    assert_eq!(
        of("mysql", json!({"host": "h", "database": "d", "table": "t", "query": "SELECT 1", "prot": "x"})),
        ["/authMethod required", "/config/prot unknown_field", "/config/query contradiction"]
    );
    assert_eq!(
        of("local_fs", json!({"path": "a.csv", "fromat": "json", "options": {"header": true, "escape": "\n"}})),
        ["/config/fromat unknown_field", "/config/options/escape format"]
    );
}

#[test]
fn an_endpoint_is_a_plain_http_url() {
    let of = |endpoint: &str| {
        lines(
            create(&body(json!({"name": "n", "type": "aws_s3", "config": {"bucket": "data", "endpoint": endpoint}}))).1,
        )
    };
    assert!(of("https://s3.example.com/base").is_empty());
    for bad in ["s3.example.com", "ftp://a", "http://", "file:///etc", "http://a:b@c", "http://a?b=c"] {
        assert_eq!(of(bad), ["/config/endpoint format"], "{bad}");
    }
}

#[test]
fn secrets_go_with_their_method() {
    assert_eq!(lines(create(&body(s3("access_key", Value::Null))).1), ["/authConfig required"]);
    assert_eq!(lines(create(&body(s3("none", json!({"accessKeyId": "a"})))).1), ["/authConfig contradiction"]);
    assert_eq!(
        lines(create(&body(s3("access_key", json!({"accessKeyId": "", "secretKey": "b"})))).1),
        [
            "/authConfig/accessKeyId length",
            "/authConfig/secretAccessKey required",
            "/authConfig/secretKey unknown_field",
        ]
    );
    let (_, faults) = create(&body(
        json!({"name": "n", "type": "local_fs", "config": {"path": "a"}, "authMethod": "access_key", "authConfig": {"accessKeyId": "a", "secretAccessKey": "b"}}),
    ));
    assert_eq!(lines(faults), ["/authMethod contradiction"]);
}

#[test]
fn a_database_is_asked_by_somebody() {
    for kind in ["postgresql", "mysql"] {
        let of = |method: Value, auth: Value| {
            let config = json!({"host": "db.example", "database": "shop"});
            let whole = json!({"name": "n", "type": kind, "config": config, "authMethod": method, "authConfig": auth});
            let faults = create(&body(whole)).1;
            assert!(faults.iter().all(|fault| fault.detail.contains("\"password\"")), "{faults:?}");
            lines(faults)
        };
        assert!(of(json!("password"), json!({"username": "ann"})).is_empty());
        assert_eq!(of(json!(null), json!(null)), ["/authMethod required"]);
        assert_eq!(of(json!(null), json!({"username": "ann"})), ["/authMethod required"]);
        assert_eq!(of(json!("none"), json!({"username": "ann"})), ["/authMethod contradiction"]);
    }
    let bucket = Stored { auth_method: AuthMethod::None, ..*KEYS };
    let moved = json!({"type": "mysql", "config": {"host": "db.example", "database": "shop"}});
    assert_eq!(lines(update(&body(moved), bucket).1), ["/authMethod required"]);
}

#[test]
fn no_fault_shows_a_secret() {
    let secrets = [
        json!("HUSH"),
        json!(4711),
        json!(["HUSH"]),
        json!({"accessKeyId": "HUSH".repeat(100), "secretAccessKey": ["HUSH"], "sessionToken": {"HUSH": 1}}),
        json!({"accessKeyId": 4711, "secretAccessKey": "HUSH".repeat(1000)}),
        json!({"accessKeyId": "HUSH", "secretAccessKey": "", "other": "HUSH"}),
    ];
    for secret in secrets {
        for method in ["access_key", "none", "wrong"] {
            let (_, faults) = create(&body(s3(method, secret.clone())));
            assert!(!faults.is_empty());
            let shown = format!("{faults:?}");
            assert!(!shown.contains("HUSH") && !shown.contains("4711"), "{shown}");
        }
        let (_, faults) = update(&body(json!({ "authConfig": secret })), *KEYS);
        assert!(!format!("{faults:?}").contains("HUSH"));
    }
}

#[test]
fn a_change_is_checked_against_what_is_stored() {
    let (patch, faults) =
        update(&body(json!({"config": {"path": "b"}, "id": "conn_1", "status": "ok", "lastError": null})), *FILES);
    assert_eq!(faults, []);
    let patch = patch.unwrap();
    assert!(patch.config.is_some() && patch.kind.is_none() && patch.name.is_none() && patch.auth.is_none());

    let config = json!({"path": "b", "options": {"header": true, "delimiter": ";"}});
    let same = json!({"config": {"options": {"delimiter": ";", "header": true}, "path": "b"}});
    let (patch, _) = update(&body(same), Stored { config: config.as_object().unwrap(), ..*FILES });
    assert!(patch.unwrap().config.is_none(), "what is stored is no change");

    let of = |value: Value, stored: Stored<'_>| lines(update(&body(value), stored).1);
    assert_eq!(of(json!({"config": {"path": "b"}}), *KEYS), ["/config/bucket required", "/config/path unknown_field"]);
    assert_eq!(of(json!({"type": "aws_s3"}), *FILES), ["/config required"]);
    assert_eq!(of(json!({"type": "local_fs", "config": {"path": "a"}}), *KEYS), ["/authMethod contradiction"]);
    assert_eq!(
        of(json!({"authMethod": "access_key"}), Stored { auth_method: AuthMethod::None, ..*KEYS }),
        ["/authConfig required"]
    );
    assert_eq!(of(json!({"authConfig": null}), *KEYS), ["/authConfig required"]);
    assert_eq!(
        of(json!({"name": null, "type": null, "config": null}), *FILES),
        ["/config type", "/name type", "/type type"]
    );
    assert!(of(json!({"authMethod": "access_key", "name": "x"}), *KEYS).is_empty());
}

#[test]
fn another_method_forgets_the_secret() {
    let (patch, faults) = update(&body(json!({"authMethod": "none"})), *KEYS);
    assert_eq!(faults, []);
    let patch = patch.unwrap();
    assert!(patch.auth_method == Some(AuthMethod::None) && patch.auth == Some(None));
    let (patch, _) = update(&body(json!({"authConfig": {"accessKeyId": "a", "secretAccessKey": "b"}})), *KEYS);
    assert!(patch.unwrap().auth.flatten().is_some());
}

#[test]
fn a_region_is_a_word_since_it_becomes_a_part_of_the_host() {
    let of = |region: &str| {
        lines(create(&body(json!({"name": "n", "type": "aws_s3", "config": {"bucket": "data", "region": region}}))).1)
    };
    for region in ["eu-central-1", "us-gov-west-1", "auto", "RegionOne"] {
        assert!(of(region).is_empty(), "{region}");
    }
    for region in ["evil.example/", "a", "eu_1", "x@y.example", "eu-1\n", "eu#", "-eu-1"] {
        assert_eq!(of(region), ["/config/region pattern"], "{region}");
        let config = crate::models::connector::AwsS3Config { region: Some(region.to_owned()), ..Default::default() };
        assert!(!config.has_plain_region(), "{region}");
    }
}

/// The faults of a PUT with this config and no secret, for a connector that has the other one and a secret.
fn moved(kind: ConnectorType, method: AuthMethod, before: Value, after: Value) -> Vec<String> {
    let config = before.as_object().unwrap();
    let (patch, faults) = update(&body(json!({ "config": after })), Stored { kind, auth_method: method, config });
    assert_eq!(patch.is_some(), faults.is_empty());
    if let Some(fault) = faults.first() {
        assert!(fault.detail.contains("give authConfig again"), "{faults:?}");
    }
    lines(faults)
}

#[test]
fn a_stored_secret_is_not_led_elsewhere() {
    let again = ["/authConfig required"];
    let api = |url: &str| {
        moved(ConnectorType::RestApi, AuthMethod::Bearer, json!({"url": "https://a.example/v1"}), json!({"url": url}))
    };
    for url in
        ["https://b.example/v1", "http://a.example/v1", "https://a.example:8443/v1", "https://a.example.b.example/"]
    {
        assert_eq!(api(url), again, "{url}");
    }
    assert!(api("https://A.example:443/v2").is_empty());

    let of = |more: Value| {
        let mut config = json!({"host": "db.example", "database": "shop", "sslMode": "require"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let database =
        |before: Value, after: Value| moved(ConnectorType::Postgresql, AuthMethod::Password, of(before), of(after));
    for more in
        [json!({"host": "b.example"}), json!({"port": 5433}), json!({"sslMode": "prefer"}), json!({"sslMode": null})]
    {
        assert_eq!(database(json!({}), more.clone()), again, "{more}");
    }
    assert!(database(json!({}), json!({"sslMode": "verify-full", "database": "b", "table": "t"})).is_empty());
    let pem =
        |text: &str| json!({"sslMode": "verify-full", "sslRootCert": format!("-----BEGIN CERTIFICATE-----{text}")});
    assert_eq!(database(pem("a"), pem("b")), again);
    assert!(database(json!({}), pem("b")).is_empty());

    let s3 = |more: Value| {
        let mut config = json!({"bucket": "data"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        moved(ConnectorType::AwsS3, AuthMethod::AccessKey, json!({"bucket": "data", "region": "eu-central-1"}), config)
    };
    assert_eq!(s3(json!({})), again);
    assert_eq!(s3(json!({"region": "eu-central-1", "endpoint": "https://b.example"})), again);
    assert!(s3(json!({"region": "eu-central-1", "bucket": "other", "prefix": "a/"})).is_empty());
    let azure = json!({"account": "one", "container": "data"});
    let other = json!({"account": "two", "container": "data"});
    assert_eq!(moved(ConnectorType::AzureBlob, AuthMethod::SasToken, azure, other), again);
    let gcs = json!({"bucket": "data", "endpoint": "https://b.example"});
    assert_eq!(moved(ConnectorType::Gcs, AuthMethod::ServiceAccount, json!({"bucket": "data"}), gcs), again);
}

#[test]
fn a_secret_that_comes_along_may_go_anywhere_and_another_type_asks_for_it() {
    let config = json!({"host": "db.example", "database": "shop"});
    let stored =
        Stored { kind: ConnectorType::Mysql, auth_method: AuthMethod::Password, config: config.as_object().unwrap() };
    let to = |more: Value| {
        let mut whole = json!({"type": "rest_api", "config": {"url": "https://b.example"}});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lines(update(&body(whole), stored).1)
    };
    assert_eq!(to(json!({})), ["/authConfig required"]);
    assert!(to(json!({"authConfig": {"username": "a", "password": "b"}})).is_empty());
    assert!(to(json!({"authMethod": "none"})).is_empty());
    let host = json!({"config": {"host": "b.example", "database": "shop"}});
    let open = json!({"url": "https://a.example"});
    let open =
        Stored { kind: ConnectorType::RestApi, auth_method: AuthMethod::None, config: open.as_object().unwrap() };
    assert!(update(&body(json!({"config": {"url": "https://b.example"}})), open).1.is_empty());
    assert_eq!(lines(update(&body(host.clone()), stored).1), ["/authConfig required"]);
    // Beside what is wrong elsewhere, but not where the config itself is wrong.
    let with = |key: &str, value: Value| {
        let mut whole = host.clone();
        whole[key] = value;
        lines(update(&body(whole), stored).1)
    };
    assert_eq!(with("name", json!("")), ["/authConfig required", "/name format"]);
    assert_eq!(with("config", json!({"host": "b.example"})), ["/config/database required"]);
    assert_eq!(with("type", json!("mysqll")), ["/type unknown"]);
}

fn api(config: Value) -> Vec<Fault> {
    let mut whole = json!({"url": "https://api.example.com/v1"});
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    create(&body(json!({"name": "n", "type": "rest_api", "config": whole}))).1
}

#[test]
fn apis_are_taken_with_each_pagination() {
    for pagination in [
        json!({"type": "none"}),
        json!({"type": "page", "pageParam": "p", "firstPage": 0, "sizeParam": "s", "pageSize": 50}),
        json!({"type": "offset", "pageSize": 1000}),
        json!({"type": "cursor", "cursorParam": "after", "cursorPath": "meta.next"}),
        json!({"type": "link"}),
        json!({"type": "link", "nextPath": "links.next"}),
    ] {
        let config =
            json!({"headers": {"Accept-Language": "de"}, "recordsPath": "data.items", "pagination": pagination});
        assert_eq!(api(config), []);
    }
    assert_eq!(api(json!({"method": "POST", "body": {"a": 1}, "rateLimit": 0.5})), []);
}

#[test]
fn secrets_do_not_go_into_headers_and_no_fault_shows_one() {
    for name in ["Authorization", "cookie", "X-Api-Key", "X-My-Token", "client-secret"] {
        let faults = api(json!({"headers": {name: "HUSH"}}));
        assert!(faults[0].detail.contains("authConfig"), "{faults:?}");
        assert_eq!(lines(faults.clone()), [format!("/config/headers/{name} contradiction")]);
        assert!(!format!("{faults:?}").contains("HUSH"));
    }
    let faults = api(json!({"headers": {"a b": "x", "Host": "x", "X-Line": "a\nb", "X-Umlaut": "\u{e9}"}}));
    assert_eq!(
        lines(faults),
        [
            "/config/headers/Host contradiction",
            "/config/headers/X-Line format",
            "/config/headers/X-Umlaut format",
            "/config/headers/a b format",
        ]
    );
}

#[test]
fn what_cannot_be_asked_of_an_api_is_a_fault() {
    assert_eq!(lines(api(json!({"body": {"a": 1}}))), ["/config/body contradiction"]);
    assert_eq!(lines(api(json!({"recordsPath": "$.data"}))), ["/config/recordsPath format"]);
    assert_eq!(lines(api(json!({"recordsPath": "data..x"}))), ["/config/recordsPath format"]);
    assert_eq!(
        lines(api(json!({"options": {"encoding": "latin1", "skipRows": 1, "columns": {"a": "text"}}}))),
        ["/config/options/encoding contradiction", "/config/options/skipRows contradiction"]
    );
    let of = |pagination: Value| lines(api(json!({ "pagination": pagination })));
    assert_eq!(of(json!({"type": "page", "sizeParam": "size"})), ["/config/pagination/sizeParam contradiction"]);
    assert_eq!(of(json!({"type": "offset", "offsetParam": "limit"})), ["/config/pagination/limitParam contradiction"]);
    assert_eq!(of(json!({"type": "cursor", "cursorPath": ".next"})), ["/config/pagination/cursorPath format"]);
    assert_eq!(of(json!({"type": "page", "pageParam": "a b"})), ["/config/pagination/pageParam format"]);
    assert!(!of(json!({"type": "scroll"})).is_empty());
}
