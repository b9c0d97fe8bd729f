//! Key sets from a small issuer on this machine, which counts how often it is asked.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A key pair that signs tokens.
pub(crate) struct Signer {
    pub kid: String,
    pub alg: &'static str,
    pub public: Vec<u8>,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { kid: kid.to_owned(), alg: "RS256", public: pair.public_key().as_ref().to_vec(), pair: Pair::Rsa(pair) }
    }

    pub fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), alg: "ES256", public: pair.public_key().as_ref().to_vec(), pair: Pair::Ec(pair) }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                json!({"kty": "RSA", "kid": self.kid, "use": "sig", "n": text(n.big_endian_without_leading_zero()), "e": text(e.big_endian_without_leading_zero())})
            }
            Pair::Ec(_) => {
                let (x, y) = self.public[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.kid, "x": text(x), "y": text(y)})
            }
        }
    }
}

/// An issuer on this machine.
pub(crate) struct Issuer {
    pub url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<Lock<Option<(u16, String)>>>,
}

fn key_set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|s| s.jwk()).collect::<Vec<_>>()}).to_string()
}

impl Issuer {
    pub async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}/jwks.json", listener.local_addr().unwrap()),
            asked: Arc::default(),
            answer: Arc::new(Lock::new(Some((200, key_set(signers))))),
        };
        let (asked, answer) = (Arc::clone(&issuer.asked), Arc::clone(&issuer.answer));
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                match answer {
                    Some((status, body)) => {
                        let head = format!(
                            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                            body.len()
                        );
                        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    }
                    None => silent.push(stream),
                }
            }
        });
        issuer
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn publish(&self, signers: &[&Signer]) {
        self.answer_with(200, &key_set(signers));
    }

    fn answer_with(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = Some((status, body.to_owned()));
    }

    fn fall_silent(&self) {
        *self.answer.lock().unwrap() = None;
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

const ES: Algorithm = Algorithm::ES256;

fn error(result: Result<Arc<DecodingKey>, KeyError>) -> String {
    match result {
        Ok(_) => "a key".to_owned(),
        Err(KeyError::Unavailable(source)) => source.to_string(),
        Err(other) => format!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_are_fetched_once_an_hour() {
    let one = Signer::ec("one");
    let issuer = Issuer::start(&[&one]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    for (second, asked) in [(0, 1), (1, 1), (3599, 1), (3600, 2), (3601, 2)] {
        assert!(jwks.key(Some("one"), ES, at(second)).await.is_ok());
        assert_eq!(issuer.asked(), asked, "after {second} s");
    }
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_most_every_half_minute() {
    let (one, two) = (Signer::ec("one"), Signer::ec("two"));
    let issuer = Issuer::start(&[&one]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    assert!(jwks.key(Some("one"), ES, at(0)).await.is_ok());
    issuer.publish(&[&one, &two]);
    for second in 1..30 {
        assert!(matches!(jwks.key(Some("two"), ES, at(second)).await, Err(KeyError::Unknown)));
    }
    assert_eq!(issuer.asked(), 1);
    assert!(jwks.key(Some("two"), ES, at(30)).await.is_ok());
    assert_eq!(issuer.asked(), 2);
    for second in 31..60 {
        assert!(matches!(jwks.key(Some("made up"), ES, at(second)).await, Err(KeyError::Unknown)));
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_key_that_the_issuer_withdraws_is_gone_after_the_next_fetch() {
    let (one, two) = (Signer::ec("one"), Signer::ec("two"));
    let issuer = Issuer::start(&[&one, &two]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    assert!(jwks.key(Some("one"), ES, at(0)).await.is_ok());
    issuer.publish(&[&two]);
    assert!(matches!(jwks.key(Some("one"), ES, at(3600)).await, Err(KeyError::Unknown)));
}

#[tokio::test]
async fn known_keys_are_used_for_a_day_while_the_issuer_fails() {
    let one = Signer::ec("one");
    let issuer = Issuer::start(&[&one]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    assert!(jwks.key(Some("one"), ES, at(0)).await.is_ok());
    issuer.answer_with(500, "");
    assert!(jwks.key(Some("one"), ES, at(3600)).await.is_ok());
    assert!(jwks.key(Some("one"), ES, at(3604)).await.is_ok());
    assert_eq!(issuer.asked(), 2);
    assert!(jwks.key(Some("one"), ES, at(25 * 3600 - 1)).await.is_ok());
    assert_eq!(error(jwks.key(Some("one"), ES, at(25 * 3600)).await), "the issuer answers with status 500");
    // Whether an unknown key is bad can't be said then.
    assert_eq!(error(jwks.key(Some("two"), ES, at(7200)).await), "the issuer answers with status 500");
}

#[tokio::test]
async fn what_is_no_key_set_is_unavailable_and_tried_again_soon() {
    let one = Signer::ec("one");
    let issuer = Issuer::start(&[&one]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(LARGEST));
    let symmetric = json!({"keys": [{"kty": "oct", "kid": "one", "k": "AAAA", "alg": "HS256"}]}).to_string();
    let encryption =
        json!({"keys": [{"use": "enc", "kty": "EC", "crv": "P-256", "kid": "one", "x": "AAAA", "y": "AAAA"}]})
            .to_string();
    for (n, (status, body, said)) in [
        (404, "gone", "the issuer answers with status 404"),
        (302, "", "the issuer answers with status 302"),
        (200, "<html>", "the issuer's answer is not a key set"),
        (200, large.as_str(), "the issuer's answer is larger than 262144 bytes"),
        (200, symmetric.as_str(), "the issuer's key set holds no key for RS256 or ES256"),
        (200, encryption.as_str(), "the issuer's key set holds no key for RS256 or ES256"),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.answer_with(status, body);
        let second = n as i64 * 5;
        assert_eq!(error(jwks.key(Some("one"), ES, at(second)).await), said);
        assert_eq!(error(jwks.key(Some("one"), ES, at(second + 4)).await), said);
        assert_eq!(issuer.asked(), n + 1);
    }
    issuer.publish(&[&one]);
    assert!(jwks.key(Some("one"), ES, at(30)).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_is_silent_or_away_is_given_up() {
    let issuer = Issuer::start(&[]).await;
    issuer.fall_silent();
    let mut jwks = Jwks::new(&issuer.url).unwrap();
    jwks.timeout = std::time::Duration::from_millis(50);
    let said = error(jwks.key(Some("one"), ES, at(0)).await);
    assert!(said.starts_with("the issuer does not answer: "), "{said}");
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let nobody = (nobody.local_addr().unwrap(), nobody);
    let said = error(Jwks::new(&format!("http://{}/", nobody.0)).unwrap().key(None, ES, at(0)).await);
    assert!(said.starts_with("the issuer does not answer: "), "{said}");
}

#[tokio::test]
async fn many_callers_at_once_ask_the_issuer_once() {
    let one = Signer::ec("one");
    let issuer = Issuer::start(&[&one]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    let callers = (0..50).map(|_| jwks.key(Some("one"), ES, at(0)));
    assert!(futures::future::join_all(callers).await.iter().all(Result::is_ok));
    assert_eq!(issuer.asked(), 1);
    let callers = (0..50).map(|_| jwks.key(Some("one"), ES, at(3600)));
    assert!(futures::future::join_all(callers).await.iter().all(Result::is_ok));
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_token_may_leave_its_key_unnamed_where_there_is_one() {
    let (one, two) = (Signer::ec("one"), Signer::ec("two"));
    let issuer = Issuer::start(&[&one]).await;
    let jwks = Jwks::new(&issuer.url).unwrap();
    assert!(jwks.key(None, ES, at(0)).await.is_ok());
    issuer.publish(&[&one, &two]);
    assert!(matches!(jwks.key(None, ES, at(3600)).await, Err(KeyError::Unnamed)));
}

#[test]
fn keys_that_are_not_understood_do_not_hide_the_others() {
    let one = Signer::ec("one");
    let set = json!({"keys": [{"kty": "new"}, "text", {"kty": "RSA"}, {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}, one.jwk()]});
    let keys = keys_of(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.iter().map(|k| k.kid.as_deref()).collect::<Vec<_>>(), [Some("one")]);
}

#[test]
fn only_this_machine_may_be_asked_without_tls() {
    for good in ["https://example.com/jwks.json", "http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]:9/x"] {
        assert!(Jwks::new(good).is_ok(), "{good}");
    }
    for bad in [
        "http://example.com/x",
        "http://10.0.0.1/x",
        "http://localhost.example.com/",
        "file:///etc/passwd",
        "ftp://localhost/x",
        "",
    ] {
        assert!(Jwks::new(bad).is_err(), "{bad}");
    }
}
