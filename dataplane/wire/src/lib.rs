//! Sans-IO protocol logic: HTTP/1.1, caching fields, WebSocket frames.
