"""Import from and export to annotation tools, through the library datumaro.

`importing.import_annotations` fills a folder data set (`emu_core.data.folder`) from what a tool
has exported; `exporting.export_annotations` writes the frames of a folder data set, with their
labels or a model's predictions, for a tool to import.
"""
