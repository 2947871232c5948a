"""Tests of Qdrant: embedded in every run, a server where QDRANT_URL names one."""
