//! Secrets sealed with a key file, and with a small stand-in for KMS that keeps to its encryption context.

use super::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &[u8] = br#"{"accessKeyId":"AKIA","secretAccessKey":"hush"}"#;

fn file_pair(folder: &tempfile::TempDir) -> (Sealer, Opener) {
    let path = folder.path().join("keys/secrets.key");
    (Sealer::file(&path).unwrap(), Opener::file(&path).unwrap())
}

#[tokio::test]
async fn a_secret_opens_for_its_own_tenant_and_connector_only() {
    let folder = tempfile::tempdir().unwrap();
    let (sealer, opener) = file_pair(&folder);
    let sealed = sealer.seal("acme", "conn_1", SECRET).await.unwrap();
    assert_eq!(opener.open("acme", "conn_1", &sealed).await.unwrap().expose(), SECRET);
    for (tenant, connector) in [("other", "conn_1"), ("acme", "conn_2"), ("acmeconn_1", "")] {
        assert!(matches!(opener.open(tenant, connector, &sealed).await, Err(SecretsError::Foreign)));
    }
    let again = sealer.seal("acme", "conn_1", SECRET).await.unwrap();
    assert_ne!(again, sealed, "each has a data key of its own");
    let mixed = Sealed { key: again.key, text: sealed.text };
    assert!(matches!(opener.open("acme", "conn_1", &mixed).await, Err(SecretsError::Foreign)));
}

#[tokio::test]
async fn a_sealed_secret_survives_the_table_and_an_altered_one_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (sealer, opener) = file_pair(&folder);
    let sealed = sealer.seal("acme", "conn_1", SECRET).await.unwrap();
    let stored = serde_json::to_value(&sealed).unwrap();
    assert_eq!(stored.as_object().unwrap().keys().collect::<Vec<_>>(), ["key", "text"]);
    assert!(!stored.to_string().contains("hush"));
    assert_eq!(serde_json::from_value::<Sealed>(stored).unwrap(), sealed);
    for altered in ["", "AAAA", "not base64"] {
        let altered = Sealed { text: altered.to_owned(), ..sealed.clone() };
        assert!(matches!(opener.open("acme", "conn_1", &altered).await, Err(SecretsError::Foreign)));
    }
    let other = tempfile::tempdir().unwrap();
    let (_, stranger) = file_pair(&other);
    assert!(matches!(stranger.open("acme", "conn_1", &sealed).await, Err(SecretsError::Foreign)));
}

#[tokio::test]
async fn nothing_that_knows_a_secret_prints_it() {
    let folder = tempfile::tempdir().unwrap();
    let (sealer, opener) = file_pair(&folder);
    let sealed = sealer.seal("acme", "conn_1", SECRET).await.unwrap();
    let secret = opener.open("acme", "conn_1", &sealed).await.unwrap();
    let printed = format!("{sealer:?} {opener:?} {sealed:?} {secret:?}");
    assert_eq!(printed, "Sealer(File(redacted)) Opener(File(redacted)) Sealed(redacted) Secret(redacted)");
}

#[test]
fn a_key_file_is_made_once_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/secrets.key");
    Sealer::file(&path).unwrap();
    let made = fs::read(&path).unwrap();
    assert_eq!(made.len(), 32);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
    Opener::file(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), made);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn processes_that_start_at_once_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.key");
    let keys: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| key_of_file(&path).unwrap().to_vec())).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test]
async fn a_bad_key_file_and_no_key_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.key");
    fs::write(&path, "short").unwrap();
    let said = Sealer::file(&path).unwrap_err().to_string();
    assert!(said.ends_with("has 5 bytes; 32 are a key"), "{said}");
    assert!(matches!(Sealer::file(folder.path()), Err(SecretsError::KeyFile { .. })));
    assert!(matches!(Sealer::none().seal("acme", "conn_1", SECRET).await, Err(SecretsError::NoKey)));
    let sealed = Sealed { key: String::new(), text: String::new() };
    assert!(matches!(Opener::none().open("acme", "conn_1", &sealed).await, Err(SecretsError::NoKey)));
}

/// One answer of the stand-in: its "wrapped" keys are the key and the encryption context, in the clear.
fn kms_answer(action: &str, request: &Value) -> (u16, Value) {
    let context = request["EncryptionContext"].to_string();
    let encode = |bytes: &[u8]| json!(STANDARD.encode(bytes));
    match action {
        "TrentService.GenerateDataKey" => {
            assert_eq!(request["KeySpec"], "AES_256");
            let key = [7; 32];
            let wrapped = [key.as_slice(), context.as_bytes()].concat();
            (200, json!({"KeyId": request["KeyId"], "Plaintext": encode(&key), "CiphertextBlob": encode(&wrapped)}))
        }
        "TrentService.Decrypt" => {
            let wrapped = STANDARD.decode(request["CiphertextBlob"].as_str().unwrap()).unwrap();
            let (key, bound) = wrapped.split_at(32);
            let same = serde_json::from_slice::<Value>(bound).ok() == Some(request["EncryptionContext"].clone());
            if same {
                (200, json!({"Plaintext": encode(key)}))
            } else {
                (400, json!({"__type": "InvalidCiphertextException"}))
            }
        }
        other => (400, json!({"__type": "UnknownOperationException", "message": other})),
    }
}

async fn serve_kms(mut stream: TcpStream) {
    let mut request = Vec::new();
    let (head, body) = loop {
        let mut chunk = [0; 8192];
        let read = stream.read(&mut chunk).await.unwrap();
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str::<Value>(body)
        {
            break (head.to_ascii_lowercase(), body);
        }
        if read == 0 {
            return;
        }
    };
    let action = if head.contains("generatedatakey") { "TrentService.GenerateDataKey" } else { "TrentService.Decrypt" };
    let (status, answer) = kms_answer(action, &body);
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
}

async fn kms_client() -> aws_sdk_kms::Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_kms(stream));
        }
    });
    aws_sdk_kms::Client::new(&crate::aws::local_config(&format!("http://{address}")))
}

#[tokio::test]
async fn kms_wraps_the_data_key_in_the_context_of_tenant_and_connector() {
    let client = kms_client().await;
    let (sealer, opener) = (Sealer::kms(client.clone(), "alias/flowgate"), Opener::kms(client, "alias/flowgate"));
    let sealed = sealer.seal("acme", "conn_1", SECRET).await.unwrap();
    let wrapped = String::from_utf8_lossy(&STANDARD.decode(&sealed.key).unwrap()).into_owned();
    assert!(wrapped.contains(r#""tenant":"acme""#) && wrapped.contains(r#""connector":"conn_1""#), "{wrapped}");
    assert_eq!(opener.open("acme", "conn_1", &sealed).await.unwrap().expose(), SECRET);
    assert!(matches!(opener.open("other", "conn_1", &sealed).await, Err(SecretsError::Foreign)));
}

#[tokio::test]
async fn a_silent_key_service_is_given_up_in_time_to_say_so() {
    // It takes connections, and says nothing ever.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = crate::aws::local_config(&format!("http://{}", silent.local_addr().unwrap()));
    let sealer = Sealer::kms(aws_sdk_kms::Client::new(&config), "alias/flowgate");
    let asked = std::time::Instant::now();
    let sealed = sealer.within(Some(Duration::from_millis(200))).seal("acme", "conn_1", SECRET).await;
    assert!(matches!(sealed, Err(SecretsError::Kms(_))), "{sealed:?}");
    let took = asked.elapsed();
    assert!(took < crate::aws::PATIENCE, "it took {took:?}, an attempt's time at least");
}

#[tokio::test]
async fn a_key_service_that_is_away_is_not_the_callers_fault() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = crate::aws::local_config(&format!("http://{nobody}"));
    let config = config.into_builder().retry_config(aws_config::retry::RetryConfig::disabled()).build();
    let sealer = Sealer::kms(aws_sdk_kms::Client::new(&config), "alias/flowgate");
    let error = Error::from(sealer.seal("acme", "conn_1", SECRET).await.unwrap_err());
    assert!(matches!(error, Error::Unavailable { what: "the key service", .. }), "{error:?}");
}
