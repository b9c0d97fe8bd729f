//! The guarded client as an object store wants to have it.

use super::{Client, Failure};
use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(60);

/// Gives a store our client, whatever options it has.
#[derive(Debug)]
pub struct Connector(pub Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = url::Url::parse(&parts.uri.to_string()).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let mut own = reqwest::Request::new(parts.method, url);
        *own.headers_mut() = parts.headers;
        *own.timeout_mut() = Some(REQUEST);
        // Sources write nothing: a body in pieces never comes.
        *own.body_mut() = body.as_bytes().filter(|b| !b.is_empty()).map(|b| b.clone().into());
        let response = self.send(own).await.map_err(failed)?;
        let (parts, body) = hyper::Response::<reqwest::Body>::from(response).into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Streamed(body))))
    }
}

fn failed(failure: Failure) -> HttpError {
    let kind = match &failure {
        // Trying again does not help.
        Failure::Forbidden(_) | Failure::Url(_) => HttpErrorKind::Unknown,
        Failure::Http(e) if e.is_timeout() => HttpErrorKind::Timeout,
        Failure::Http(e) if e.is_connect() => HttpErrorKind::Connect,
        Failure::Http(e) if e.is_decode() => HttpErrorKind::Decode,
        Failure::Http(_) => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, failure)
}

/// The body of an answer, with its errors in the store's words.
struct Streamed(reqwest::Body);

impl Body for Streamed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        frame.map_err(|e| {
            let kind = if e.is_timeout() { HttpErrorKind::Timeout } else { HttpErrorKind::Interrupted };
            HttpError::new(kind, e.without_url())
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
