"""Engine adapters. Each is loaded by name, see `container_runtime.engine.load_engine`."""
