"""What several editors share.

Settings, the base class, the loop over layers, the frame of routed editors.
"""
