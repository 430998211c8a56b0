//! Errors as the client sees them: a status, a code for programs, and a sentence for people.
//!
//! Invariant: every answer that is not a success has the body
//! `{"error":{"code":"unknown_store","message":"no store \"x\""}}`, the router's own 404 and 405
//! included; where another instance has what was asked for, `server` beside these says which. The
//! probes alone differ: they list reasons.

use crate::QueryError;
use axum::{
    Json,
    extract::rejection::{BytesRejection, PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// The result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// What went wrong with a request.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Who can answer instead.
    server: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            code,
            message,
            server: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(crate) fn busy(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The body's JSON.
    pub(crate) fn body(&self) -> serde_json::Value {
        let Self { code, message, .. } = self;
        let mut error = json!({ "code": code, "message": message });
        if let Some(server) = &self.server {
            error["server"] = json!(server);
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (status, code) = match &error {
            QueryError::UnknownStore(_) => (StatusCode::NOT_FOUND, "unknown_store"),
            QueryError::UnknownTopic(_) => (StatusCode::NOT_FOUND, "unknown_topic"),
            QueryError::UnknownPartition { .. } => (StatusCode::NOT_FOUND, "unknown_partition"),
            QueryError::BadKey(_) => (StatusCode::BAD_REQUEST, "bad_key"),
            QueryError::BadCursor(_) => (StatusCode::BAD_REQUEST, "bad_cursor"),
            QueryError::BadRecord(_) => (StatusCode::BAD_REQUEST, "bad_record"),
            QueryError::Refused(_) => (StatusCode::FORBIDDEN, "refused"),
            QueryError::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            QueryError::UnknownOutcome(_) => (StatusCode::GATEWAY_TIMEOUT, "unknown_outcome"),
            QueryError::Elsewhere { .. } => (StatusCode::MISDIRECTED_REQUEST, "elsewhere"),
            QueryError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let told = Self::new(status, code, error.to_string());
        match error {
            QueryError::Elsewhere { server, .. } => Self { server, ..told },
            _ => told,
        }
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::too_large(rejection.body_text())
        } else {
            Self::bad_request(rejection.body_text())
        }
    }
}
