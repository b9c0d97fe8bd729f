//! Tokens that are accepted, and every way in which one is not.

use super::*;
use crate::jwks::tests::{Issuer, Signer};
use serde_json::json;

const SECRET: &str = "a secret for tests, of over thirty-two bytes";

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn settings() -> TokenConfig {
    TokenConfig { algorithms: vec!["HS256".to_owned()], secret: Some(SECRET.to_owned()), ..TokenConfig::default() }
}

fn verifier() -> Verifier {
    Verifier::from_config(&settings()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "ann", "tenantId": "acme", "role": "editor", "exp": now().timestamp() + 60})
}

/// `claims()` with `changes`; null takes a claim away.
fn changed(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    all
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hmac(message: &[u8]) -> Vec<u8> {
    hmac_with(SECRET.as_bytes(), message)
}

fn hmac_with(secret: &[u8], message: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

fn hs256(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, hmac)
}

async fn verify(verifier: &Verifier, token: &str) -> Result<Claims, TokenError> {
    verifier.verify(Some(&format!("Bearer {token}")), now()).await
}

async fn refusal(verifier: &Verifier, token: &str) -> String {
    verify(verifier, token).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_token_says_who_calls_for_which_tenant_and_in_which_role() {
    let expected = Claims { sub: "ann".to_owned(), tenant: Some("acme".to_owned()), roles: vec!["editor".to_owned()] };
    assert_eq!(verify(&verifier(), &hs256(&claims())).await.unwrap(), expected);
    let issued = issue(SECRET.as_bytes(), "ann", "acme", "editor", Duration::hours(1), now()).unwrap();
    assert_eq!(verify(&verifier(), &issued).await.unwrap(), expected);
}

#[tokio::test]
async fn the_header_is_bearer_in_any_case_and_one_token() {
    let token = hs256(&claims());
    for header in [format!("bearer {token}"), format!("BEARER  {token} "), format!("Bearer\t{token}")] {
        assert!(verifier().verify(Some(&header), now()).await.is_ok(), "{header}");
    }
    assert!(matches!(verifier().verify(None, now()).await, Err(TokenError::Missing)));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        &token,
        &format!("Bearer {token} {token}"),
        &format!("Bearer{token}"),
        "?",
    ] {
        assert!(matches!(verifier().verify(Some(header), now()).await, Err(TokenError::NotBearer)), "{header}");
    }
}

#[tokio::test]
async fn what_is_not_a_signed_jwt_is_refused() {
    let token = hs256(&claims());
    let (message, _) = token.rsplit_once('.').unwrap();
    for bad in [
        "x",
        "a.b",
        "a.b.c",
        "..",
        &format!("{token}.x"),
        &format!("{message}."),
        &format!("{message}.%"),
        &format!("{message}.AAAA"),
    ] {
        let error = verify(&verifier(), bad).await.unwrap_err();
        assert!(matches!(error, TokenError::Malformed | TokenError::Signature), "{bad}: {error:?}");
    }
    for body in [json!("text"), json!([1]), json!(null)] {
        assert!(matches!(verify(&verifier(), &hs256(&body)).await, Err(TokenError::Malformed)), "{body}");
    }
    assert!(matches!(verify(&verifier(), &"a".repeat(20_000)).await, Err(TokenError::TooLong)));
}

#[tokio::test]
async fn an_altered_token_or_one_of_another_secret_is_refused() {
    let token = hs256(&claims());
    let other = hs256(&changed(json!({"role": "admin"})));
    let (message, _) = other.rsplit_once('.').unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(refusal(&verifier(), &format!("{message}.{signature}")).await, "the token's signature does not match");
    let foreign = signed(&json!({"alg": "HS256"}), &claims(), |m| {
        hmac_with(b"another secret for tests, over thirty-two bytes", m)
    });
    assert!(matches!(verify(&verifier(), &foreign).await, Err(TokenError::Signature)));
}

#[tokio::test]
async fn only_configured_algorithms_are_accepted_and_none_never() {
    for name in ["none", "None", "NONE", "HS512", "HS384", "RS256", "ES256", "hs256", ""] {
        let token = signed(&json!({"alg": name}), &claims(), hmac);
        let said = refusal(&verifier(), &token).await;
        assert_eq!(said, format!("the token's algorithm {name:?} is not accepted here; HS256 is"));
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(matches!(verify(&verifier(), &unsigned).await, Err(TokenError::Algorithm { .. })), "{name}");
    }
    let nothing = Verifier::from_config(&TokenConfig::default()).unwrap();
    assert!(refusal(&nothing, &hs256(&claims())).await.ends_with("none is"));
}

#[tokio::test]
async fn a_token_with_critical_extensions_is_refused() {
    let token = signed(&json!({"alg": "HS256", "crit": ["exp"]}), &claims(), hmac);
    assert!(matches!(verify(&verifier(), &token).await, Err(TokenError::Critical)));
}

#[tokio::test]
async fn times_are_those_of_the_given_clock_with_half_a_minute_of_leeway() {
    let at = |seconds: i64| now().timestamp() + seconds;
    for accepted in [
        json!({"exp": at(1)}),
        json!({"exp": at(-29)}),
        json!({"exp": at(60) as f64 + 0.5}),
        json!({"nbf": at(30)}),
        json!({"nbf": at(-5)}),
    ] {
        assert!(verify(&verifier(), &hs256(&changed(accepted.clone()))).await.is_ok(), "{accepted}");
    }
    assert_eq!(
        refusal(&verifier(), &hs256(&changed(json!({"exp": at(-30)})))).await,
        "the token expired at 2026-03-01T11:59:30.000Z"
    );
    assert_eq!(
        refusal(&verifier(), &hs256(&changed(json!({"nbf": at(31)})))).await,
        "the token is not valid before 2026-03-01T12:00:31.000Z"
    );
    for exp in [json!(null), json!("soon"), json!(1e300), json!({}), json!(-1e18)] {
        let said = refusal(&verifier(), &hs256(&changed(json!({"exp": exp})))).await;
        assert_eq!(said, "the token's claim `exp` must be a number of seconds since 1970", "{exp}");
    }
    assert!(matches!(
        verify(&verifier(), &hs256(&changed(json!({"nbf": "later"})))).await,
        Err(TokenError::Claim { claim: "nbf", .. })
    ));
}

#[tokio::test]
async fn a_token_needs_a_subject() {
    for sub in [json!(null), json!(""), json!(7)] {
        let said = refusal(&verifier(), &hs256(&changed(json!({"sub": sub})))).await;
        assert_eq!(said, "the token's claim `sub` must be a text that is not empty");
    }
}

#[tokio::test]
async fn issuer_and_audience_must_match_where_they_are_set() {
    let strict = Verifier::from_config(&TokenConfig {
        issuer: Some("https://id".to_owned()),
        audience: Some("flowgate".to_owned()),
        ..settings()
    })
    .unwrap();
    for aud in [json!("flowgate"), json!(["other", "flowgate"])] {
        assert!(verify(&strict, &hs256(&changed(json!({"iss": "https://id", "aud": aud})))).await.is_ok());
    }
    for iss in [json!(null), json!("https://id/"), json!(["https://id"])] {
        assert!(matches!(
            verify(&strict, &hs256(&changed(json!({"iss": iss, "aud": "flowgate"})))).await,
            Err(TokenError::Issuer)
        ));
    }
    for aud in [json!(null), json!("flow"), json!([]), json!(["other"])] {
        assert!(matches!(
            verify(&strict, &hs256(&changed(json!({"iss": "https://id", "aud": aud})))).await,
            Err(TokenError::Audience)
        ));
    }
    assert!(verify(&verifier(), &hs256(&changed(json!({"iss": "any", "aud": "any"})))).await.is_ok());
}

#[tokio::test]
async fn roles_are_read_from_a_text_an_array_and_what_gateways_make_of_one() {
    for (value, expected) in [
        (json!({"role": "viewer"}), vec!["viewer"]),
        (json!({"role": null, "roles": ["viewer", 7, "admin"]}), vec!["viewer", "admin"]),
        (json!({"roles": ["admin"]}), vec!["editor", "admin"]),
        (json!({"role": "viewer, editor"}), vec!["viewer", "editor"]),
        (json!({"role": "[viewer, editor]"}), vec!["viewer", "editor"]),
        (json!({"role": "[\"billing admin\"]"}), vec!["billing admin"]),
        (json!({"role": "[billing admin, viewer]"}), vec!["billing admin", "viewer"]),
        (json!({"role": "[\"viewer\",\"editor\"]"}), vec!["viewer", "editor"]),
        (json!({"role": "billing admin"}), vec!["billing admin"]),
        (json!({"role": "billing admin, viewer"}), vec!["billing admin", "viewer"]),
        (json!({"role": null}), vec![]),
        (json!({"role": ""}), vec![]),
        (json!({"role": 7}), vec![]),
    ] {
        assert_eq!(verify(&verifier(), &hs256(&changed(value.clone()))).await.unwrap().roles, expected, "{value}");
    }
}

#[tokio::test]
async fn claims_have_the_names_that_the_deployment_gives_them() {
    let cognito = TokenConfig {
        tenant_claim: Some("custom:tenantId".to_owned()),
        role_claim: Some("cognito:groups".to_owned()),
        ..settings()
    };
    let token = hs256(&changed(json!({"custom:tenantId": "umbrella", "cognito:groups": ["viewer"]})));
    let read = verify(&Verifier::from_config(&cognito).unwrap(), &token).await.unwrap();
    assert_eq!((read.tenant.as_deref(), read.roles), (Some("umbrella"), vec!["viewer".to_owned()]));
    for tenant in [json!(null), json!(""), json!(5)] {
        assert_eq!(verify(&verifier(), &hs256(&changed(json!({"tenantId": tenant})))).await.unwrap().tenant, None);
    }
}

#[tokio::test]
async fn rs256_and_es256_are_checked_with_the_issuers_keys() {
    let (rsa, ec) = (Signer::rsa("r1"), Signer::ec("e1"));
    let issuer = Issuer::start(&[&rsa, &ec]).await;
    let both = TokenConfig {
        algorithms: vec!["RS256".to_owned(), "ES256".to_owned()],
        jwks_url: Some(issuer.url.clone()),
        ..TokenConfig::default()
    };
    let verifier = Verifier::from_config(&both).unwrap();
    for signer in [&rsa, &ec] {
        let header = json!({"alg": signer.alg, "kid": signer.kid});
        assert!(verify(&verifier, &signed(&header, &claims(), |m| signer.sign(m))).await.is_ok(), "{header}");
        assert!(
            matches!(verify(&verifier, &signed(&header, &claims(), hmac)).await, Err(TokenError::Signature)),
            "{header}"
        );
        let unnamed = json!({"alg": signer.alg});
        assert!(verify(&verifier, &signed(&unnamed, &claims(), |m| signer.sign(m))).await.is_ok(), "{unnamed}");
    }
    let crossed = signed(&json!({"alg": "RS256", "kid": "e1"}), &claims(), |m| ec.sign(m));
    assert!(matches!(verify(&verifier, &crossed).await, Err(TokenError::UnknownKey)));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let rsa = Signer::rsa("r1");
    let issuer = Issuer::start(&[&rsa]).await;
    // What is published, in all the forms in which one might sign with it.
    let forged: Vec<_> =
        [rsa.public.clone(), rsa.jwk().to_string().into_bytes(), rsa.jwk()["n"].as_str().unwrap().as_bytes().to_vec()]
            .into_iter()
            .map(|secret| signed(&json!({"alg": "HS256", "kid": "r1"}), &claims(), move |m| hmac_with(&secret, m)))
            .collect();
    for algorithms in [vec!["RS256"], vec!["RS256", "HS256"]] {
        let settings = TokenConfig {
            algorithms: algorithms.iter().map(|a| (*a).to_owned()).collect(),
            jwks_url: Some(issuer.url.clone()),
            ..settings()
        };
        let verifier = Verifier::from_config(&settings).unwrap();
        for token in &forged {
            let error = verify(&verifier, token).await.unwrap_err();
            assert!(matches!(error, TokenError::Algorithm { .. } | TokenError::Signature), "{error:?}");
        }
    }
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let said = |config: TokenConfig| Verifier::from_config(&config).unwrap_err().to_string();
    assert!(said(TokenConfig { algorithms: vec!["none".to_owned()], ..settings() }).contains("names \"none\""));
    assert!(said(TokenConfig { secret: None, ..settings() }).contains("it has 0"));
    assert!(said(TokenConfig { secret: Some("x".repeat(31)), ..settings() }).contains("it has 31"));
    let key_set = |url: Option<&str>| TokenConfig {
        algorithms: vec!["RS256".to_owned()],
        jwks_url: url.map(str::to_owned),
        ..TokenConfig::default()
    };
    assert_eq!(said(key_set(None)), "RS256 needs FLOWGATE_JWKS_URL");
    assert!(said(key_set(Some("http://example.com/jwks.json"))).contains("https://"));
    assert!(said(key_set(Some("jwks.json"))).contains("is not a URL"));
    assert!(matches!(issue(b"short", "ann", "acme", "admin", Duration::hours(1), now()), Err(IssueError::Secret(5))));
}

#[test]
fn a_verifier_does_not_print_its_secret() {
    assert!(!format!("{:?}", verifier()).contains("secret for tests"));
}
