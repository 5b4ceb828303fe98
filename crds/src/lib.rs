//! The custom resources of Breakwater: types, schemas, validation rules.
